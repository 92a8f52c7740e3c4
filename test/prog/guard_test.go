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
		{name: "802.1Q tag", want: drop(bpf.DatapathReasonDROP_VLAN), bytes: tag(layers.EthernetTypeDot1Q)},
		{name: "802.1ad tag", want: drop(bpf.DatapathReasonDROP_VLAN), bytes: tag(layers.EthernetTypeQinQ)},
		{name: "LLC/SNAP", want: drop(bpf.DatapathReasonDROP_LLC), bytes: llc},
		{name: "length 1535", want: drop(bpf.DatapathReasonDROP_LLC),
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

// TestLLC wraps each protocol that has addresses in LLC/SNAP.
func TestLLC(t *testing.T) {
	d := load(t, options{})
	for _, etherType := range []layers.EthernetType{layers.EthernetTypeIPv4, layers.EthernetTypeARP, layers.EthernetTypeIPv6} {
		for _, to := range []packet.MAC{d.endpoints[2].mac, gatewayMAC, packet.Broadcast} {
			p := d.neighbourly(layers.IPProtocolUDP, []byte("payload"))
			p.Ethernet.EthernetType, p.Ethernet.DstMAC = etherType, to[:]
			d.expect(t, d.fromEndpoint(1, llc(p.Bytes())), expectation{reason: bpf.DatapathReasonDROP_LLC})
		}
	}
}

// TestReservedARP: what is to a reserved address is not answered either.
func TestReservedARP(t *testing.T) {
	d := load(t, options{})
	d.expectARP(t, []arpRow{{name: "request", want: bpf.DatapathReasonDROP_RESERVED,
		packet: func(p *packet.Packet) { p.Ethernet.DstMAC = []byte{1, 0x80, 0xc2, 0, 0, 0} }}})
}

// TestDHCPServer sends from and to a DHCP server's port, every way that a frame can take.
func TestDHCPServer(t *testing.T) {
	d := load(t, options{})
	rows := []struct {
		name   string
		change func(*packet.Packet)
		guilty bool
	}{
		{"offer", func(*packet.Packet) {}, true},
		{"with options", func(p *packet.Packet) { p.IPv4.Options = routerAlert }, true},
		{"first fragment", func(p *packet.Packet) { p.IPv4.Flags = layers.IPv4MoreFragments }, true},
		{"later fragment", func(p *packet.Packet) { p.IPv4.FragOffset = 1 }, false},
		{"to the port", func(p *packet.Packet) { p.UDP.SrcPort, p.UDP.DstPort = 68, 67 }, false},
		{"from port 323", func(p *packet.Packet) { p.UDP.SrcPort = 67 | 256 }, false},
		{"from port 67 << 8", func(p *packet.Packet) { p.UDP.SrcPort = 67 << 8 }, false},
	}
	ways := []struct {
		name string
		mac  packet.MAC
		addr netip.Addr
		want expectation // of the innocent
	}{
		{"endpoint", d.endpoints[2].mac, d.endpoints[2].addr, expectation{reason: bpf.DatapathReasonFORWARD_ENDPOINT, to: 2}},
		{"broadcast", packet.Broadcast, netip.MustParseAddr("255.255.255.255"), expectation{reason: bpf.DatapathReasonPASS_BROADCAST}},
		{"gateway", gatewayMAC, gatewayAddr, expectation{reason: bpf.DatapathReasonPASS_HOST}},
	}
	for _, way := range ways {
		for _, row := range rows {
			t.Run(way.name+", "+row.name, func(t *testing.T) {
				p := d.neighbourly(layers.IPProtocolUDP, make([]byte, 300))
				p.SetDestination(netip.AddrPortFrom(way.addr, 68))
				p.UDP.SrcPort, p.Ethernet.DstMAC = 67, way.mac[:]
				row.change(p)
				want := way.want
				if row.guilty {
					want = expectation{reason: bpf.DatapathReasonDROP_DHCP_SERVER}
				}
				d.expect(t, d.fromEndpoint(1, p.Bytes()), want)
			})
		}
	}
	p := d.neighbourly(layers.IPProtocolTCP, nil)
	p.TCP.SrcPort = 67
	d.expect(t, d.fromEndpoint(1, p.Bytes()), expectation{reason: bpf.DatapathReasonFORWARD_ENDPOINT, to: 2})
}

func TestNotAnEndpoint(t *testing.T) {
	d := load(t, options{})
	in := d.fromEndpoint(1, d.neighbourly(layers.IPProtocolUDP, nil).Bytes())
	in.context.Ifindex = d.bridge
	d.expect(t, in, expectation{reason: bpf.DatapathReasonDROP_NOT_ENDPOINT})
}
