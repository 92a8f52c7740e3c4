// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// ndRow is one change to a valid solicitation of endpoint 1 for the address of endpoint 2.
type ndRow struct {
	name   string
	packet func() *packet.Packet // in place of it
	change func(*packet.Packet)
	bytes  func([]byte) []byte // after the checksum has been made
	want   bpf.DatapathReason
	answer *packet.Packet // for ANSWER_ND
}

func (d *datapath) expectND(t *testing.T, rows []ndRow) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := packet.Solicitation(d.endpoints[1].mac, d.endpoints[1].addr6, d.endpoints[2].addr6)
			if row.packet != nil {
				p = row.packet()
			}
			if row.change != nil {
				row.change(p)
			}
			frame := p.Bytes()
			if row.bytes != nil {
				frame = row.bytes(frame)
			}
			want := expectation{reason: row.want}
			if row.answer != nil {
				want.frame = row.answer.Bytes()
			}
			d.expect(t, d.fromEndpoint(1, frame), want)
		})
	}
}

// Flags of an answer to a probe and to a solicitation, without the router's.
const (
	toProbe        = packet.Override
	toSolicitation = packet.Override | packet.Solicited
)

func TestNDAnswers(t *testing.T) {
	d := load(t, options{})
	own, other := d.endpoints[1], d.endpoints[2]
	local, otherLocal, gatewayLocal := packet.LinkLocal(own.mac), packet.LinkLocal(other.mac), packet.LinkLocal(gatewayMAC)
	none := netip.Addr{}
	asks := func(sender, target netip.Addr) func() *packet.Packet {
		return func() *packet.Packet { return packet.Solicitation(own.mac, sender, target) }
	}
	answer := func(flags byte, mac packet.MAC, target, asker netip.Addr) *packet.Packet {
		return packet.Advertisement(flags, mac, target, own.mac, asker)
	}
	const answered = bpf.DatapathReasonANSWER_ND
	d.expectND(t, []ndRow{
		{name: "another endpoint", want: answered, answer: answer(toSolicitation, other.mac, other.addr6, own.addr6)},
		{name: "from the link-local address", packet: asks(local, other.addr6), want: answered,
			answer: answer(toSolicitation, other.mac, other.addr6, local)},
		{name: "another's link-local address", packet: asks(own.addr6, otherLocal), want: answered,
			answer: answer(toSolicitation, other.mac, otherLocal, own.addr6)},
		{name: "gateway", packet: asks(own.addr6, gateway6), want: answered,
			answer: answer(toSolicitation|packet.Router, gatewayMAC, gateway6, own.addr6)},
		{name: "gateway's link-local address", packet: asks(local, gatewayLocal), want: answered,
			answer: answer(toSolicitation|packet.Router, gatewayMAC, gatewayLocal, local)},
		{name: "probe for another's", packet: asks(none, other.addr6), want: answered,
			answer: answer(toProbe, other.mac, other.addr6, none)},
		{name: "probe for the gateway's", packet: asks(none, gateway6), want: answered,
			answer: answer(toProbe|packet.Router, gatewayMAC, gateway6, none)},
		{name: "unicast to the owner", want: answered, answer: answer(toSolicitation, other.mac, other.addr6, own.addr6),
			change: func(p *packet.Packet) { p.Ethernet.DstMAC, p.IPv6.DstIP = other.mac[:], other.addr6.AsSlice() }},
		{name: "unicast to the gateway", packet: asks(own.addr6, gateway6), want: answered,
			answer: answer(toSolicitation|packet.Router, gatewayMAC, gateway6, own.addr6),
			change: func(p *packet.Packet) { p.Ethernet.DstMAC, p.IPv6.DstIP = gatewayMAC[:], gateway6.AsSlice() }},
		{name: "without its MAC", want: answered, answer: answer(toSolicitation, other.mac, other.addr6, own.addr6),
			change: func(p *packet.Packet) { p.Payload = p.Payload[:20] }},
		{name: "with a nonce (RFC 7527)", want: answered, answer: answer(toSolicitation, other.mac, other.addr6, own.addr6),
			change: func(p *packet.Packet) { p.Payload = append(p.Payload, 14, 1, 1, 2, 3, 4, 5, 6) }},
		{name: "an option of 31 words", want: answered, answer: answer(toSolicitation, other.mac, other.addr6, own.addr6),
			change: func(p *packet.Packet) { p.Payload = append(p.Payload, append([]byte{11, 31}, make([]byte, 246)...)...) }},
		{name: "traffic class and flow label", want: answered, answer: answer(toSolicitation, other.mac, other.addr6, own.addr6),
			change: func(p *packet.Packet) { p.IPv6.TrafficClass, p.IPv6.FlowLabel = 0xc0, 0x12345 }},
		{name: "probe for its own", packet: asks(none, own.addr6), want: bpf.DatapathReasonDROP_ND_OWN},
		{name: "probe for its own link-local address", packet: asks(none, local), want: bpf.DatapathReasonDROP_ND_OWN},
		{name: "its own", packet: asks(own.addr6, own.addr6), want: bpf.DatapathReasonDROP_ND_OWN},
		{name: "unassigned", packet: asks(own.addr6, nobody6), want: bpf.DatapathReasonDROP_ND_TARGET},
		{name: "probe for an unassigned one", packet: asks(none, nobody6), want: bpf.DatapathReasonDROP_ND_TARGET},
		{name: "off-link", packet: asks(own.addr6, remoteAddr6), want: bpf.DatapathReasonDROP_ND_TARGET},
		{name: "endpoint of another network", packet: asks(own.addr6, d.endpoints[3].addr6), want: bpf.DatapathReasonDROP_ND_TARGET},
	})
}

// TestNDSender: what would tell another's address, or another MAC.
func TestNDSender(t *testing.T) {
	d := load(t, options{})
	own, other := d.endpoints[1], d.endpoints[2]
	set := func(options ...[]byte) func(*packet.Packet) {
		return func(p *packet.Packet) { p.Payload = append(p.Payload[:20], slices.Concat(options...)...) }
	}
	from := func(a netip.Addr) func(*packet.Packet) {
		return func(p *packet.Packet) { p.IPv6.SrcIP = a.AsSlice() }
	}
	padding := append([]byte{200, 3}, make([]byte, 22)...)
	const linkLayer, source = bpf.DatapathReasonDROP_ND_LINK_LAYER, bpf.DatapathReasonDROP_SOURCE_IPV6
	d.expectND(t, []ndRow{
		{name: "MAC of another", want: linkLayer, change: set(packet.LinkLayer(packet.SourceLinkLayer, other.mac))},
		{name: "MAC, last octet", want: linkLayer, change: set(packet.LinkLayer(packet.SourceLinkLayer, packet.MAC{0x02, 0xf1, 0, 0, 0, 9}))},
		{name: "behind its own", want: linkLayer, change: set(packet.LinkLayer(packet.SourceLinkLayer, own.mac),
			packet.LinkLayer(packet.SourceLinkLayer, other.mac))},
		{name: "behind other options", want: linkLayer, change: set(padding, padding, packet.LinkLayer(packet.SourceLinkLayer, other.mac))},
		{name: "as a target's", want: linkLayer, change: set(packet.LinkLayer(packet.TargetLinkLayer, other.mac))},
		{name: "of two words", want: linkLayer, change: set(append([]byte{1, 2}, append(own.mac[:], make([]byte, 8)...)...))},
		{name: "source of another", want: source, change: from(other.addr6)},
		{name: "source of the gateway", want: source, change: from(gateway6)},
		{name: "source of another's link-local address", want: source, change: from(packet.LinkLocal(other.mac))},
		{name: "source of another's interface identifier", want: source, change: from(netip.MustParseAddr("fd00:15::f1:ff:fe00:1"))},
		{name: "frame's source forged", want: bpf.DatapathReasonDROP_SOURCE_MAC,
			change: func(p *packet.Packet) { p.Ethernet.SrcMAC = other.mac[:] }},
	})
}

// extension is an extension header of the given words of 8 octets, that says which header is next.
func extension(next layers.IPProtocol, words int) []byte {
	x := make([]byte, 8*words)
	x[0], x[1] = byte(next), byte(words-1)
	return x
}

// behind puts an extension header of the kind before what the frame's IPv6 header says is next.
func behind(kind layers.IPProtocol, x []byte) func([]byte) []byte {
	return func(frame []byte) []byte {
		x := slices.Clone(x)
		x[0], frame[20] = frame[20], byte(kind)
		binary.BigEndian.PutUint16(frame[18:], binary.BigEndian.Uint16(frame[18:])+uint16(len(x)))
		return slices.Insert(frame, 54, x...)
	}
}

// TestNDMalformed has what RFC 4861 section 7.1.1 and RFC 6980 call invalid.
func TestNDMalformed(t *testing.T) {
	d := load(t, options{})
	other := d.endpoints[2]
	const malformed = bpf.DatapathReasonDROP_ND_MALFORMED
	fragment := []byte{0, 0, 0, 1, 0, 0, 0, 7}
	probe := func() *packet.Packet { return packet.Solicitation(d.endpoints[1].mac, netip.Addr{}, other.addr6) }
	payload := func(f func([]byte) []byte) func(*packet.Packet) {
		return func(p *packet.Packet) { p.Payload = f(p.Payload) }
	}
	d.expectND(t, []ndRow{
		{name: "hop limit 254", want: malformed, change: func(p *packet.Packet) { p.IPv6.HopLimit = 254 }},
		{name: "hop limit 0", want: malformed, change: func(p *packet.Packet) { p.IPv6.HopLimit = 0 }},
		{name: "code 1", want: malformed, change: func(p *packet.Packet) { p.ICMPv6.TypeCode |= 1 }},
		{name: "wrong checksum", want: malformed, bytes: func(b []byte) []byte { b[57] ^= 1; return b }},
		{name: "checksum 0", want: malformed, bytes: func(b []byte) []byte { b[56], b[57] = 0, 0; return b }},
		{name: "target half there", want: malformed, change: payload(func(b []byte) []byte { return b[:12] })},
		{name: "target missing", want: malformed, change: payload(func(b []byte) []byte { return b[:4] })},
		{name: "option of length 0", want: malformed, change: payload(func(b []byte) []byte { b[21] = 0; return b })},
		{name: "second option of length 0", want: malformed, change: payload(func(b []byte) []byte { return append(b, make([]byte, 8)...) })},
		{name: "option cut off", want: malformed, change: payload(func(b []byte) []byte { b[21] = 2; return b })},
		{name: "an octet behind the options", want: malformed, change: payload(func(b []byte) []byte { return append(b, 1) })},
		{name: "17 options", want: malformed, change: payload(func(b []byte) []byte {
			for range 16 {
				b = append(b, 14, 1, 0, 0, 0, 0, 0, 0)
			}
			return b
		})},
		{name: "longer than is read", want: malformed, change: payload(func(b []byte) []byte {
			for range 8 {
				b = append(b, append([]byte{14, 16}, make([]byte, 126)...)...)
			}
			return b
		})},
		{name: "multicast target", want: malformed, change: payload(func(b []byte) []byte { b[4] = 0xff; return b })},
		{name: "no target", want: malformed, change: payload(func(b []byte) []byte { clear(b[4:20]); return b })},
		{name: "probe to a unicast address", packet: probe, want: malformed,
			change: func(p *packet.Packet) { p.IPv6.DstIP = other.addr6.AsSlice() }},
		{name: "probe to all nodes", packet: probe, want: malformed,
			change: func(p *packet.Packet) { p.IPv6.DstIP = netip.IPv6LinkLocalAllNodes().AsSlice() }},
		{name: "probe that tells a MAC", packet: probe, want: malformed,
			change: payload(func(b []byte) []byte { return append(b, packet.LinkLayer(1, d.endpoints[1].mac)...) })},
		{name: "in a fragment", want: malformed, bytes: behind(layers.IPProtocolIPv6Fragment, fragment)},
		{name: "in an atomic fragment", want: malformed, bytes: behind(layers.IPProtocolIPv6Fragment, make([]byte, 8))},
		{name: "behind hop-by-hop options", want: malformed, bytes: behind(layers.IPProtocolIPv6HopByHop, extension(0, 1))},
		{name: "behind destination options of 1000 octets", want: malformed, bytes: behind(layers.IPProtocolIPv6Destination, extension(0, 125))},
		{name: "the header alone", want: bpf.DatapathReasonDROP_TRANSPORT,
			bytes: func(b []byte) []byte { b[18], b[19] = 0, 0; return b[:54] }},
	})
}

// TestNDAdvertisement: nobody but the host believes an endpoint, and it no more than what is true.
func TestNDAdvertisement(t *testing.T) {
	d := load(t, options{})
	own, other := d.endpoints[1], d.endpoints[2]
	rows := []ndRow{
		{name: "to the host", want: bpf.DatapathReasonPASS_HOST},
		{name: "to another endpoint", want: bpf.DatapathReasonDROP_ND_ADVERTISEMENT,
			change: func(p *packet.Packet) { p.Ethernet.DstMAC = other.mac[:] }},
		{name: "to everybody", want: bpf.DatapathReasonDROP_ND_ADVERTISEMENT,
			packet: func() *packet.Packet {
				return packet.Advertisement(packet.Override, own.mac, own.addr6, packet.MAC{}, netip.Addr{})
			}},
		{name: "of another's address", want: bpf.DatapathReasonDROP_ND_TARGET,
			change: func(p *packet.Packet) { copy(p.Payload[4:], other.addr6.AsSlice()) }},
		{name: "of the gateway's address", want: bpf.DatapathReasonDROP_ND_TARGET,
			change: func(p *packet.Packet) { copy(p.Payload[4:], gateway6.AsSlice()) }},
		{name: "with another's MAC", want: bpf.DatapathReasonDROP_ND_LINK_LAYER,
			change: func(p *packet.Packet) { copy(p.Payload[22:], other.mac[:]) }},
		{name: "without a source", want: bpf.DatapathReasonDROP_SOURCE_IPV6,
			change: func(p *packet.Packet) { p.IPv6.SrcIP = make([]byte, 16) }},
		{name: "with hop limit 64", want: bpf.DatapathReasonDROP_ND_MALFORMED,
			change: func(p *packet.Packet) { p.IPv6.HopLimit = 64 }},
	}
	for i := range rows {
		if rows[i].packet == nil {
			rows[i].packet = func() *packet.Packet {
				return packet.Advertisement(packet.Solicited, own.mac, own.addr6, gatewayMAC, gateway6)
			}
		}
	}
	d.expectND(t, rows)
}

// TestNDRouter: routes are configured; no endpoint is a router, and none finds another.
func TestNDRouter(t *testing.T) {
	d := load(t, options{})
	for _, kind := range []uint8{layers.ICMPv6TypeRouterSolicitation, layers.ICMPv6TypeRouterAdvertisement, layers.ICMPv6TypeRedirect} {
		plain := func(b []byte) []byte { return b }
		for name, change := range map[string]func([]byte) []byte{
			"plain":                            plain,
			"behind hop-by-hop options":        behind(layers.IPProtocolIPv6HopByHop, extension(0, 1)),
			"behind destination options":       behind(layers.IPProtocolIPv6Destination, extension(0, 20)),
			"behind a fragment header":         behind(layers.IPProtocolIPv6Fragment, make([]byte, 8)),
			"behind an authentication header":  behind(51, append([]byte{0, 4}, make([]byte, 22)...)),
			"behind two":                       func(b []byte) []byte { return behind(60, extension(0, 2))(behind(60, extension(0, 1))(b)) },
			"behind a mobility header's shape": behind(135, extension(0, 1)),
		} {
			p := packet.Solicitation(d.endpoints[1].mac, packet.LinkLocal(d.endpoints[1].mac), d.endpoints[2].addr6)
			p.ICMPv6.TypeCode = layers.CreateICMPv6TypeCode(kind, 0)
			t.Run(p.ICMPv6.TypeCode.String()+", "+name, func(t *testing.T) {
				d.expect(t, d.fromEndpoint(1, change(p.Bytes())), expectation{reason: bpf.DatapathReasonDROP_ND_ROUTER})
			})
		}
	}
}
