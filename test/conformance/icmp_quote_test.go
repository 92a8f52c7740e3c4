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
	for i, proto := range protocols {
		q := r.sendQuoted(proto.number, uint16(35001+i))
		h.part(proto.name+": wrong ICMP checksum", func() { wrongICMPSum(r, q) })
		h.part(proto.name+": wrong quoted IP checksum", func() {
			quote := octets(q.outside, everything)
			quote[11] ^= 0x55
			r.notDelivered("ICMP error", r.errorPacket(addrRouter, addrUplink, portUnreachable, quote))
		})
		h.part(proto.name+": quoted options", func() { r.errorIn(addrRouter, portUnreachable, withOptions(q)) })
		h.part(proto.name+": wrong quoted transport checksum", func() {
			p := r.errorPacket(addrRouter, addrUplink, portUnreachable, wrongTransportSum(q.outside))
			r.errorInBytes(p, octets(q.inside, everything))
		})
		h.part(proto.name+": 8 octets quoted", func() {
			p := r.errorPacket(addrRouter, addrUplink, portUnreachable, octets(q.outside, 28))
			r.errorInBytes(p, octets(q.inside, 28))
		})
		h.part(proto.name+": RFC 4884 extension", func() {
			m := portUnreachable
			m.rest = 32 << 16 // length of the padded quotation, in words
			r.errorInBytes(r.errorPacket(addrRouter, addrUplink, m, extended(q.outside)), extended(q.inside))
		})
	}
}

func wrongICMPSum(r *raw, q quoted) {
	p := r.errorPacket(addrRouter, addrUplink, portUnreachable, octets(q.outside, everything))
	address(p, r.beyond.own, r.beyond.next)
	data := p.Bytes()
	data[offsetICMPSum+1] ^= 0x55
	r.beyond.send(r.h, data)
	r.fence()
	r.inside.seen.none("ICMP error is delivered", atInside(p))
}

// withOptions is q as if it had been sent with a router alert (RFC 2113) and a timestamp option that nobody fills in.
func withOptions(q quoted) quoted {
	options := []layers.IPv4Option{
		{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}},
		{OptionType: 68, OptionLength: 8, OptionData: []byte{5, 0, 0, 0, 0, 0}},
	}
	with := quoted{clone(q.inside), clone(q.outside)}
	with.inside.IPv4.Options, with.outside.IPv4.Options = options, options
	return with
}

func wrongTransportSum(p *packet.Packet) []byte {
	quote := octets(p, everything)
	offset := map[layers.IPProtocol]int{
		layers.IPProtocolTCP: 16, layers.IPProtocolUDP: 6, layers.IPProtocolICMPv4: 2,
	}[p.IPv4.Protocol]
	quote[20+offset] ^= 0x55
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
