// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// neighbourly is a packet from endpoint 1 to endpoint 2 of the same network.
func (d *datapath) neighbourly(proto layers.IPProtocol, payload []byte) *packet.Packet {
	from, to := d.endpoints[1], d.endpoints[2]
	return packet.New(proto, packet.Ends{
		SourceMAC: from.mac, DestinationMAC: to.mac,
		Source: netip.AddrPortFrom(from.addr, 1000), Destination: netip.AddrPortFrom(to.addr, 2000),
	}, payload)
}

// tag puts an 802.1Q-style tag of the given type before the frame's own type.
func tag(etherType layers.EthernetType) func([]byte) []byte {
	return func(frame []byte) []byte {
		return slices.Insert(frame, 12, byte(etherType>>8), byte(etherType), 0, 42)
	}
}

// llc turns the frame into IEEE 802.3 with LLC/SNAP around the same payload.
func llc(frame []byte) []byte {
	length := len(frame) - 14 + 8
	snap := []byte{byte(length >> 8), byte(length), 0xaa, 0xaa, 3, 0, 0, 0}
	return slices.Insert(frame, 12, snap...)
}

func TestSourceGuard(t *testing.T) {
	d := load(t, options{})
	forward := expectation{reason: bpf.DatapathReasonFORWARD_ENDPOINT, to: 2}
	drop := func(r bpf.DatapathReason) expectation { return expectation{reason: r} }
	rows := []struct {
		name   string
		packet func(*packet.Packet)
		bytes  func([]byte) []byte
		want   expectation
	}{
		{name: "valid", want: forward},
		{name: "source MAC of another endpoint", want: drop(bpf.DatapathReasonDROP_SOURCE_MAC),
			packet: func(p *packet.Packet) { p.Ethernet.SrcMAC = d.endpoints[2].mac[:] }},
		{name: "source MAC, first octet", want: drop(bpf.DatapathReasonDROP_SOURCE_MAC),
			bytes: func(b []byte) []byte { b[6] ^= 4; return b }},
		{name: "source MAC, last octet", want: drop(bpf.DatapathReasonDROP_SOURCE_MAC),
			bytes: func(b []byte) []byte { b[11] ^= 1; return b }},
		{name: "IPv4 source of another endpoint", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV4),
			packet: func(p *packet.Packet) { p.IPv4.SrcIP = d.endpoints[2].addr.AsSlice() }},
		{name: "IPv4 source of the gateway", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV4),
			packet: func(p *packet.Packet) { p.IPv4.SrcIP = gatewayAddr.AsSlice() }},
		{name: "IPv4 source 0.0.0.0", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV4),
			packet: func(p *packet.Packet) { p.IPv4.SrcIP = make([]byte, 4) }},
		{name: "forged and broadcast", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV4),
			packet: func(p *packet.Packet) {
				p.Ethernet.DstMAC, p.IPv4.SrcIP = packet.Broadcast[:], d.endpoints[2].addr.AsSlice()
			}},
		{name: "IPv6", want: drop(bpf.DatapathReasonDROP_IPV6),
			packet: func(p *packet.Packet) {
				p.Ethernet.EthernetType = layers.EthernetTypeIPv6
				p.Payload = make([]byte, 40) // BPF_PROG_RUN wants a whole header
			}},
		{name: "802.1Q tag", want: drop(bpf.DatapathReasonDROP_VLAN), bytes: tag(layers.EthernetTypeDot1Q)},
		{name: "802.1ad tag", want: drop(bpf.DatapathReasonDROP_VLAN), bytes: tag(layers.EthernetTypeQinQ)},
		{name: "LLC/SNAP", want: drop(bpf.DatapathReasonDROP_VLAN), bytes: llc},
		{name: "length 1535", want: drop(bpf.DatapathReasonDROP_VLAN),
			packet: func(p *packet.Packet) { p.Ethernet.EthernetType = 1535 }},
		{name: "ethertype 1536 is no length", want: forward,
			packet: func(p *packet.Packet) { p.Ethernet.EthernetType = 1536 }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := d.neighbourly(layers.IPProtocolUDP, []byte("payload"))
			if row.packet != nil {
				row.packet(p)
			}
			frame := p.Bytes()
			if row.bytes != nil {
				frame = row.bytes(frame)
			}
			d.expect(t, d.fromEndpoint(1, frame), row.want)
		})
	}
}

func TestNotAnEndpoint(t *testing.T) {
	d := load(t, options{})
	in := d.fromEndpoint(1, d.neighbourly(layers.IPProtocolUDP, nil).Bytes())
	in.context.Ifindex = d.bridge
	d.expect(t, in, expectation{reason: bpf.DatapathReasonDROP_NOT_ENDPOINT})
}
