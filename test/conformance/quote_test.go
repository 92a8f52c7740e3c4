// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

// message is an ICMP error without what it quotes.
type message struct {
	kind, code uint8
	rest       uint32 // the second word: a pointer, an MTU, a length, or unused
}

var (
	portUnreachable = message{kind: layers.ICMPv4TypeDestinationUnreachable, code: layers.ICMPv4CodePort}
	hostUnreachable = message{kind: layers.ICMPv4TypeDestinationUnreachable, code: layers.ICMPv4CodeHost}
	prohibited      = message{kind: layers.ICMPv4TypeDestinationUnreachable, code: layers.ICMPv4CodeCommAdminProhibited}
	timeExceeded    = message{kind: layers.ICMPv4TypeTimeExceeded}
)

func (m message) typeCode() layers.ICMPv4TypeCode {
	return layers.CreateICMPv4TypeCode(m.kind, m.code)
}

// quoted is a packet of a session as it is known on either side of the translation.
type quoted struct {
	inside, outside *packet.Packet
}

// sendQuoted sends a packet from the container to the outside, and returns it as ICMP errors from there quote it.
func (r *raw) sendQuoted(proto layers.IPProtocol, port uint16) quoted {
	r.h.t.Helper()
	p := r.packet(proto, r.port(port), at(addrPeer, 7000), "sixteen octets..")
	if p.TCP != nil {
		setFlags(p.TCP, "S")
		p.Payload = nil
	}
	from := r.out("packet", p)
	q := quoted{clone(p), clone(p)}
	q.inside.IPv4.TTL--
	q.outside.IPv4.TTL--
	q.outside.SetSource(from)
	return q
}

// getQuoted answers q from the outside, and returns the answer as ICMP errors of the container quote it.
func (r *raw) getQuoted(q quoted) quoted {
	r.h.t.Helper()
	p := r.answer(q)
	r.in("answer", p, r.port(portAt(q.inside)))
	back := quoted{clone(p), clone(p)}
	back.inside.IPv4.TTL--
	back.outside.IPv4.TTL--
	back.inside.SetDestination(r.port(portAt(q.inside)))
	return back
}

// answer is a packet that the remote of q sends next.
func (r *raw) answer(q quoted) *packet.Packet {
	from := netip.AddrPortFrom(netip.MustParseAddr(addrUplink), portAt(q.outside))
	if q.inside.ICMP != nil {
		return r.reply(q.inside, from)
	}
	p := r.packet(q.inside.IPv4.Protocol, at(addrPeer, 7000), from, "sixteen octets..")
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
	p := r.packet(layers.IPProtocolICMPv4, at(from, 0), at(to, 0), string(quote))
	p.ICMP.TypeCode = m.typeCode()
	p.ICMP.Id, p.ICMP.Seq = uint16(m.rest>>16), uint16(m.rest)
	return p
}

// errorIn sends an ICMP error from a router outside about a packet of the container, and wants it there: from that router, for the
// container, and about the packet as the container has sent it. The quoted transport checksum is not looked at: it may be left as
// it is (RFC 5508 REQ-3), or put right.
func (r *raw) errorIn(router string, m message, q quoted) {
	r.h.t.Helper()
	r.errorInBytes(r.errorPacket(router, addrUplink, m, octets(q.outside, everything)), octets(q.inside, everything))
}

// errorInBytes is errorIn for an error that is made already, and the quotation as it has to arrive.
func (r *raw) errorInBytes(p *packet.Packet, quote []byte) {
	r.h.t.Helper()
	r.sendIn(p)
	got := r.arrived("ICMP error of the outside at the container", r.inside.seen, atInside(p))
	want := clone(p)
	address(want, r.inside.next, r.inside.own)
	want.IPv4.TTL--
	want.IPv4.DstIP = r.addr.AsSlice()
	want.Payload = quote
	r.wholeError(want, got)
}

// errorOut is errorIn the other way: the container complains of a packet that it was sent.
func (r *raw) errorOut(m message, q quoted) {
	r.h.t.Helper()
	p := r.errorPacket(r.addr.String(), addrPeer, m, octets(q.inside, everything))
	r.sendOut(p)
	got := r.arrived("ICMP error of the container at the outside", r.beyond.seen, atOutside(p))
	want := clone(p)
	address(want, r.beyond.next, r.beyond.own)
	want.IPv4.TTL--
	want.IPv4.SrcIP = netip.MustParseAddr(addrUplink).AsSlice()
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

// Offsets in a frame with an ICMP error whose outer IP header has no options.
const (
	offsetICMPSum = 14 + 20 + 2
	offsetQuote   = 14 + 20 + 8
)

// withoutQuotedSums is a frame with an ICMP error, with zeros for the quoted transport checksum and for the ICMP checksum, which
// depends on it.
func withoutQuotedSums(data []byte) []byte {
	c := append([]byte(nil), data...)
	clear(c[offsetICMPSum : offsetICMPSum+2])
	at := offsetQuote + int(c[offsetQuote]&0xf)*4
	switch layers.IPProtocol(c[offsetQuote+9]) {
	case layers.IPProtocolTCP:
		at += 16
	case layers.IPProtocolUDP:
		at += 6
	default:
		at += 2
	}
	if at+2 <= len(c) {
		clear(c[at : at+2])
	}
	return c
}
