// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
	"flyover/test/wire"
)

func checkICMPErrorParsing(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	from, to, unreachable := h.addr.router, h.addr.uplink, h.icmp().portUnreachable
	for i, proto := range h.protocols() {
		q := r.sendQuoted(proto.number, uint16(35001+i))
		h.part(proto.name+": wrong ICMP checksum", func() { wrongICMPSum(r, q) })
		if !h.addr.six() { // which has none
			h.part(proto.name+": wrong quoted IP checksum", func() {
				quote := octets(q.outside, everything)
				quote[11] ^= 0x55
				r.notDelivered("ICMP error", r.errorPacket(from, to, unreachable, quote))
			})
		}
		h.part(proto.name+": quoted options", func() {
			r.errorInBytes(r.errorPacket(from, to, unreachable, withOptions(q.outside)), withOptions(q.inside))
		})
		h.part(proto.name+": wrong quoted transport checksum", func() {
			r.errorInBytes(r.errorPacket(from, to, unreachable, wrongTransportSum(q.outside)), octets(q.inside, everything))
		})
		h.part(proto.name+": 8 octets quoted", func() {
			n := h.addr.header() + 8
			r.errorInBytes(r.errorPacket(from, to, unreachable, octets(q.outside, n)), octets(q.inside, n))
		})
		h.part(proto.name+": RFC 4884 extension", func() {
			m := unreachable
			m.rest = h.icmp().quotes128
			r.errorInBytes(r.errorPacket(from, to, m, extended(q.outside)), extended(q.inside))
		})
	}
}

func wrongICMPSum(r *raw, q quoted) {
	p := r.errorPacket(r.h.addr.router, r.h.addr.uplink, r.h.icmp().portUnreachable, octets(q.outside, everything))
	address(p, r.beyond.own, r.beyond.next)
	data := p.Bytes()
	at, proto := transport(data, 14)
	data[at+checksumAt(proto)+1] ^= 0x55
	r.beyond.send(r.h, data)
	r.fence()
	r.inside.seen.none("ICMP error is delivered", atInside(p))
}

// withOptions are the octets of a packet as if it had been sent with a router alert (RFC 2113) and a timestamp option that nobody fills
// in, or of IPv6 with a header of destination options that says nothing.
func withOptions(p *packet.Packet) []byte {
	with := clone(p)
	if p.IPv6 != nil {
		return behindExtension(with.Bytes(), layers.IPProtocolIPv6Destination, padding(0, 1))[14:]
	}
	with.IPv4.Options = []layers.IPv4Option{
		{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}},
		{OptionType: 68, OptionLength: 8, OptionData: []byte{5, 0, 0, 0, 0, 0}},
	}
	return octets(with, everything)
}

func wrongTransportSum(p *packet.Packet) []byte {
	quote := octets(p, everything)
	at, proto := transport(quote, 0)
	quote[at+checksumAt(proto)] ^= 0x55
	return quote
}

// extended is a quotation padded to 128 octets and an extension with one MPLS label, by RFC 4884 and RFC 4950.
func extended(p *packet.Packet) []byte {
	quote := make([]byte, 128)
	copy(quote, octets(p, everything))
	extension := []byte{0x20, 0, 0, 0, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0x40}
	sum := ^wire.Sum(extension)
	extension[2], extension[3] = byte(sum>>8), byte(sum)
	return append(quote, extension...)
}
