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
		requirement: "ICMP echo and timestamp queries pass, their replies go home, for 60 s at least",
		source:      "RFC 5508 REQ-1, REQ-2",
		check:       checkICMPQueries,
	},
	{
		number:      29,
		requirement: "ICMP errors from outside arrive with the quoted packet translated back",
		source:      "RFC 5508 REQ-4",
		check:       checkICMPErrorsIn,
	},
	{
		number:      30,
		requirement: "ICMP errors are accepted from any router on the path",
		source:      "RFC 4787 REQ-12",
		check:       checkICMPErrorsOfRouters,
	},
	{
		number:      31,
		requirement: "ICMP errors about nothing that is translated are dropped silently",
		source:      "RFC 5508 REQ-4",
		check:       checkICMPErrorsAboutNothing,
	},
	{
		number:      32,
		requirement: "ICMP errors from inside leave from the outside address, with the quoted packet translated, hairpinned too",
		source:      "RFC 5508 REQ-5, REQ-7",
		check:       checkICMPErrorsOut,
	},
	{
		number:      33,
		requirement: "a new flow for which there is no room is answered with ICMP 3/13, at a limited rate",
		source:      "RFC 5508 REQ-8",
		check:       checkNoRoom,
	},
	{
		number:      34,
		requirement: "ICMP errors neither end nor refresh a mapping",
		source:      "RFC 4787 REQ-12, RFC 5382 REQ-10, RFC 5508 REQ-6",
		check:       checkICMPKeepsTimers,
	},
	{
		number:      35,
		requirement: "ICMP errors: wrong checksums are dropped; quoted options, short quotations and RFC 4884 extensions are understood",
		source:      "RFC 5508 REQ-3",
		check:       checkICMPErrorParsing,
	},
}

// protocols are those that are translated.
var protocols = []struct {
	name   string
	number layers.IPProtocol
}{
	{"TCP", layers.IPProtocolTCP},
	{"UDP", layers.IPProtocolUDP},
	{"echo", layers.IPProtocolICMPv4},
}

func checkICMPQueries(_ *testing.T, h *host) {
	h.upDefault()
	ns1, ns2 := h.raw("ns1"), h.raw("ns2")
	for _, query := range []struct {
		name string
		kind uint8
		data string
	}{
		{"echo", layers.ICMPv4TypeEchoRequest, "some data"},
		{"timestamp", layers.ICMPv4TypeTimestampRequest, "three times.."[:12]},
	} {
		h.part(query.name, func() { sameIdentifiers(ns1, ns2, query.kind, query.data) })
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
		query := r.packet(layers.IPProtocolICMPv4, r.port(identifier), at(addrPeer, identifier), data)
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

// messages are all errors of RFC 792, RFC 1122 and RFC 1812 about a packet.
func messages() []message {
	var all []message
	for code := range uint8(16) {
		m := message{kind: layers.ICMPv4TypeDestinationUnreachable, code: code}
		if code == layers.ICMPv4CodeFragmentationNeeded {
			m.rest = 1400
		}
		all = append(all, m)
	}
	for code := range uint8(2) {
		all = append(all, message{kind: layers.ICMPv4TypeTimeExceeded, code: code})
	}
	for code := range uint8(3) {
		all = append(all, message{kind: layers.ICMPv4TypeParameterProblem, code: code, rest: 9 << 24})
	}
	return all
}

func checkICMPErrorsIn(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	for i, proto := range protocols {
		h.part(proto.name, func() {
			q := r.sendQuoted(proto.number, uint16(29001+i))
			for _, m := range messages() {
				r.errorIn(addrRouter, m, q)
			}
		})
	}
	h.part("connect", func() {
		wantDialError(r, 8001, portUnreachable, syscall.ECONNREFUSED)
		wantDialError(r, 8002, hostUnreachable, syscall.EHOSTUNREACH)
	})
	h.part("UDP too big", func() { wantTooBig(r) })
}

func checkICMPErrorsOfRouters(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	for i, router := range []string{addrRouter, "198.51.100.7", "10.9.8.7", addrPeer} {
		h.part([]string{"a neighbour", "a far router", "a router with a private address", "the destination"}[i], func() {
			for j, proto := range protocols {
				q := r.sendQuoted(proto.number, uint16(30001+10*i+j))
				r.errorIn(router, timeExceeded, q)
				r.errorIn(router, hostUnreachable, q)
			}
		})
	}
}

func checkICMPErrorsAboutNothing(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	atNS2 := h.capture("ns2", "veth-ns2")
	for i, proto := range protocols {
		h.part(proto.name, func() {
			unknown := r.packet(proto.number, at(addrUplink, uint16(20001+i)), at(addrPeer, 7000), "sixteen octets..")
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
	for _, m := range messages() {
		p := r.errorPacket(addrRouter, addrUplink, m, quote)
		r.notDelivered("ICMP error", p)
		atNS2.none("ICMP error is delivered to another container", atInside(p))
	}
	r.beyond.seen.none("an answer to an ICMP error", func(f frame) bool {
		_, dst := f.Addrs()
		return !f.Sent && dst.String() == addrRouter && !isEcho(f)
	})
}

// isEcho matches what fences send.
func isEcho(f frame) bool {
	return f.ICMP() != nil && f.ICMP().TypeCode.Type() == layers.ICMPv4TypeEchoRequest
}

func checkICMPErrorsOut(_ *testing.T, h *host) {
	h.upDefault()
	h.part("socket outside", func() { refusedOutside(h) })
	h.part("hairpin", func() { refusedHairpin(h) })
	r := h.raw("ns1")
	for i, proto := range protocols {
		h.part(proto.name, func() {
			q := r.getQuoted(r.sendQuoted(proto.number, uint16(32001+i)))
			for _, m := range messages() {
				r.errorOut(m, q)
			}
		})
	}
}
