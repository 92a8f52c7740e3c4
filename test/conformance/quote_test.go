// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

// quoted is a packet of a session as it is known on either side of the translation.
type quoted struct {
	inside, outside *packet.Packet
}

// sendQuoted sends a packet from the container to the outside, and returns it as ICMP errors from there quote it.
func (r *raw) sendQuoted(proto layers.IPProtocol, port uint16) quoted {
	r.h.t.Helper()
	p := r.packet(proto, r.port(port), at(r.h.addr.peer, 7000), "sixteen octets..")
	if p.TCP != nil {
		setFlags(p.TCP, "S")
		p.Payload = nil
	}
	from := r.out("packet", p)
	q := quoted{clone(p), clone(p)}
	oneHopOn(q.inside)
	oneHopOn(q.outside)
	q.outside.SetSource(from)
	return q
}

// getQuoted answers q from the outside, and returns the answer as ICMP errors of the container quote it.
func (r *raw) getQuoted(q quoted) quoted {
	r.h.t.Helper()
	p := r.answer(q)
	r.in("answer", p, r.port(portAt(q.inside)))
	back := quoted{clone(p), clone(p)}
	oneHopOn(back.inside)
	oneHopOn(back.outside)
	back.inside.SetDestination(r.port(portAt(q.inside)))
	return back
}

// answer is a packet that the remote of q sends next.
func (r *raw) answer(q quoted) *packet.Packet {
	from := at(r.h.addr.uplink, portAt(q.outside))
	if q.inside.ICMP != nil {
		return r.reply(q.inside, from)
	}
	p := r.packet(q.inside.Protocol(), at(r.h.addr.peer, 7000), from, "sixteen octets..")
	if p.TCP != nil {
		setFlags(p.TCP, "SA")
		p.TCP.Ack = q.inside.TCP.Seq + 1
		p.Payload = nil
	}
	return p
}

// portAt is the port, or identifier, of the packet's sender.
func portAt(p *packet.Packet) uint16 {
	switch {
	case p.TCP != nil:
		return uint16(p.TCP.SrcPort)
	case p.UDP != nil:
		return uint16(p.UDP.SrcPort)
	}
	return p.ICMP.Id
}

// octets is the IP packet itself, or as much as n octets of it.
func octets(p *packet.Packet, n int) []byte {
	ip := clone(p).Bytes()[14:]
	return ip[:min(n, len(ip))]
}

// everything is more than any packet has.
const everything = 1 << 16

// errorPacket is an ICMP error.
func (r *raw) errorPacket(from, to string, m message, quote []byte) *packet.Packet {
	p := r.packet(r.h.icmp().protocol, at(from, 0), at(to, 0), string(quote))
	p.ICMP.TypeCode = m.typeCode()
	p.ICMP.Id, p.ICMP.Seq = uint16(m.rest>>16), uint16(m.rest)
	return p
}

// errorIn sends an ICMP error from a router outside about a packet of the container, and wants it there: from that router, for the
// container, and about the packet as the container has sent it. The quoted transport checksum is not looked at: it may be left as
// it is (RFC 5508 REQ-3), or put right.
func (r *raw) errorIn(router string, m message, q quoted) {
	r.h.t.Helper()
	r.errorInBytes(r.errorPacket(router, r.h.addr.uplink, m, octets(q.outside, everything)), octets(q.inside, everything))
}

// errorInBytes is errorIn for an error that is made already, and the quotation as it has to arrive.
func (r *raw) errorInBytes(p *packet.Packet, quote []byte) {
	r.h.t.Helper()
	r.sendIn(p)
	got := r.landed("ICMP error of the outside at the container", r.inside.seen, atInside(p))
	want := clone(p)
	address(want, r.inside.next, r.inside.own)
	oneHopOn(want)
	want.SetDestination(netip.AddrPortFrom(r.addr, want.ICMP.Id))
	want.Payload = quote
	r.wholeError(want, got)
}

// errorOut is errorIn the other way: the container complains of a packet that it was sent.
func (r *raw) errorOut(m message, q quoted) {
	r.h.t.Helper()
	p := r.errorPacket(r.addr.String(), r.h.addr.peer, m, octets(q.inside, everything))
	r.sendOut(p)
	got := r.landed("ICMP error of the container at the outside", r.beyond.seen, atOutside(p))
	want := clone(p)
	address(want, r.beyond.next, r.beyond.own)
	oneHopOn(want)
	want.SetSource(at(r.h.addr.uplink, want.ICMP.Id))
	want.Payload = octets(q.outside, everything)
	r.wholeError(want, got)
}

func (r *raw) wholeError(want *packet.Packet, got frame) {
	r.h.t.Helper()
	if wrong := got.WrongChecksum(); wrong != "" {
		r.h.Failf("ICMP error arrives with a wrong %s checksum", wrong)
	}
	r.whole("ICMP error", withoutQuotedSums(want.Bytes()), withoutQuotedSums(got.Data()))
}

// transport is where what is behind an IP header at an offset begins, and what it is. Of IPv6 one header of destination options may be in
// between.
func transport(data []byte, at int) (int, layers.IPProtocol) {
	if data[at]>>4 == 4 {
		return at + int(data[at]&0xf)*4, layers.IPProtocol(data[at+9])
	}
	next, proto := at+40, layers.IPProtocol(data[at+6])
	if proto == layers.IPProtocolIPv6Destination {
		next, proto = next+8+8*int(data[next+1]), layers.IPProtocol(data[next])
	}
	return next, proto
}

// checksumAt is where the checksum is in a transport header.
func checksumAt(proto layers.IPProtocol) int {
	switch proto {
	case layers.IPProtocolTCP:
		return 16
	case layers.IPProtocolUDP:
		return 6
	}
	return 2 // ICMP
}

// withoutQuotedSums is a frame with an ICMP error, with zeros for the quoted transport checksum and for the ICMP checksum, which
// depends on it.
func withoutQuotedSums(data []byte) []byte {
	c := append([]byte(nil), data...)
	icmp, proto := transport(c, 14)
	clear(c[icmp+checksumAt(proto):][:2])
	at, proto := transport(c, icmp+8)
	at += checksumAt(proto)
	if at+2 <= len(c) {
		clear(c[at : at+2])
	}
	return c
}
