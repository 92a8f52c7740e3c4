// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

var icmpRows = []row{
	{
		number:      28,
		requirement: "ICMP echo and timestamp queries pass, their replies go home, for 60 s at least, of IPv4 and IPv6",
		source:      "RFC 5508 REQ-1, REQ-2",
		check:       both(checkICMPQueries),
	},
	{
		number:      29,
		requirement: "ICMP errors from outside arrive with the quoted packet translated back, of IPv4 and IPv6",
		source:      "RFC 5508 REQ-4",
		check:       both(checkICMPErrorsIn),
	},
	{
		number:      30,
		requirement: "ICMP errors are accepted from any router on the path, of IPv4 and IPv6",
		source:      "RFC 4787 REQ-12",
		check:       both(checkICMPErrorsOfRouters),
	},
	{
		number:      31,
		requirement: "ICMP errors about nothing that is translated are dropped silently, of IPv4 and IPv6",
		source:      "RFC 5508 REQ-4",
		check:       both(checkICMPErrorsAboutNothing),
	},
	{
		number:      32,
		requirement: "ICMP errors from inside leave from the outside address, with the quoted packet translated, hairpinned too, of IPv4 and IPv6",
		source:      "RFC 5508 REQ-5, REQ-7",
		check:       both(checkICMPErrorsOut),
	},
	{
		number:      33,
		requirement: "a new flow for which there is no room is answered with ICMP 3/13, ICMPv6 1/1, at a limited rate, of IPv4 and IPv6",
		source:      "RFC 5508 REQ-8",
		check:       both(checkNoRoom),
	},
	{
		number:      34,
		requirement: "ICMP errors neither end nor refresh a mapping, of IPv4 and IPv6",
		source:      "RFC 4787 REQ-12, RFC 5382 REQ-10, RFC 5508 REQ-6",
		check:       both(checkICMPKeepsTimers),
	},
	{
		number:      35,
		requirement: "ICMP errors: wrong checksums are dropped; quoted options, short quotations and RFC 4884 extensions are understood, of IPv4 and IPv6",
		source:      "RFC 5508 REQ-3",
		check:       both(checkICMPErrorParsing),
	},
}

func checkICMPQueries(_ *testing.T, h *host) {
	h.upDefault()
	ns1, ns2 := h.raw("ns1"), h.raw("ns2")
	h.part("echo", func() { sameIdentifiers(ns1, ns2, h.icmp().request, "some data") })
	if !h.addr.six() {
		h.part("timestamp", func() { sameIdentifiers(ns1, ns2, layers.ICMPv4TypeTimestampRequest, "three times.."[:12]) })
	}
}

// sameIdentifiers has two containers query the same host with the same identifier. The replies come as late as they may.
func sameIdentifiers(ns1, ns2 *raw, kind uint8, data string) {
	const identifier = 77
	type pending struct {
		r     *raw
		reply *packet.Packet
	}
	var all []pending
	identifiers := map[uint16]bool{}
	for _, r := range []*raw{ns1, ns2} {
		query := r.packet(r.h.icmp().protocol, r.port(identifier), at(r.h.addr.peer, identifier), data)
		query.ICMP.TypeCode = layers.CreateICMPv4TypeCode(kind, 0)
		from := r.out("query", query)
		identifiers[from.Port()] = true
		all = append(all, pending{r, r.reply(query, from)})
	}
	if len(identifiers) != len(all) {
		ns1.h.Failf("two containers share an identifier")
	}
	for _, p := range all {
		p.r.in("reply", p.reply, p.r.port(identifier))
		p.reply = clone(p.reply)
	}
	ns1.h.age(60*time.Second - margin)
	for _, p := range all {
		p.r.number(p.reply)
		p.r.in("late reply", p.reply, p.r.port(identifier))
	}
}

func checkICMPErrorsIn(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	for i, proto := range h.protocols() {
		h.part(proto.name, func() {
			q := r.sendQuoted(proto.number, uint16(29001+i))
			for _, m := range h.icmp().messages() {
				r.errorIn(h.addr.router, m, q)
			}
		})
	}
	h.part("connect", func() {
		wantDialError(r, 8001, h.icmp().portUnreachable, syscall.ECONNREFUSED)
		wantDialError(r, 8002, h.icmp().hostUnreachable, syscall.EHOSTUNREACH)
	})
	h.part("UDP too big", func() { wantTooBig(r) })
}

func checkICMPErrorsOfRouters(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	for i, router := range []string{h.addr.router, h.addr.far, h.addr.private, h.addr.peer} {
		h.part([]string{"a neighbour", "a far router", "a router with a private address", "the destination"}[i], func() {
			for j, proto := range h.protocols() {
				q := r.sendQuoted(proto.number, uint16(30001+10*i+j))
				r.errorIn(router, h.icmp().timeExceeded, q)
				r.errorIn(router, h.icmp().hostUnreachable, q)
			}
		})
	}
}

func checkICMPErrorsAboutNothing(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	atNS2 := h.capture("ns2", "veth-ns2")
	for i, proto := range h.protocols() {
		h.part(proto.name, func() {
			unknown := r.packet(proto.number, at(h.addr.uplink, uint16(20001+i)), at(h.addr.peer, 7000), "sixteen octets..")
			silentAbout(r, atNS2, octets(unknown, everything))
		})
		h.part(proto.name+" session that has ended", func() {
			q := r.sendQuoted(proto.number, uint16(31001+i))
			h.age(30 * 24 * time.Hour)
			silentAbout(r, atNS2, octets(q.outside, everything))
		})
	}
}

// silentAbout sends errors about a packet, which nobody may receive or answer.
func silentAbout(r *raw, atNS2 *capture, quote []byte) {
	r.h.t.Helper()
	for _, m := range r.h.icmp().messages() {
		p := r.errorPacket(r.h.addr.router, r.h.addr.uplink, m, quote)
		r.notDelivered("ICMP error", p)
		atNS2.none("ICMP error is delivered to another container", atInside(p))
	}
	r.beyond.seen.none("an answer to an ICMP error", func(f frame) bool {
		_, dst := f.Addrs()
		return !f.Sent && dst.String() == r.h.addr.router && !r.isEcho(f)
	})
}

// isEcho matches what fences send.
func (r *raw) isEcho(f frame) bool {
	return f.Message() != nil && f.Message().TypeCode.Type() == r.h.icmp().request
}

func checkICMPErrorsOut(_ *testing.T, h *host) {
	h.upDefault()
	h.part("socket outside", func() { refusedOutside(h) })
	h.part("hairpin", func() { refusedHairpin(h) })
	r := h.raw("ns1")
	for i, proto := range h.protocols() {
		h.part(proto.name, func() {
			q := r.getQuoted(r.sendQuoted(proto.number, uint16(32001+i)))
			for _, m := range h.icmp().messages() {
				r.errorOut(m, q)
			}
		})
	}
}
