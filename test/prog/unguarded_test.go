// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// station is a packet of a station that is behind endpoint 1, and has the address that is nobody's, to endpoint 2.
func (d *datapath) station() *packet.Packet {
	p := d.neighbourly(layers.IPProtocolUDP, []byte("payload"))
	p.Ethernet.SrcMAC, p.IPv4.SrcIP = stationMAC[:], nobody.AsSlice()
	return p
}

// toOutside sends the packet to the gateway, for a remote.
func toOutside(p *packet.Packet) {
	p.Ethernet.DstMAC, p.IPv4.DstIP = gatewayMAC[:], remoteAddr.AsSlice()
}

func from(a netip.Addr) func(*packet.Packet) {
	return func(p *packet.Packet) { p.IPv4.SrcIP = a.AsSlice() }
}

func TestUnguarded(t *testing.T) {
	d := load(t, options{Unguarded: 1})
	own, other := d.endpoints[1], d.endpoints[2]
	const (
		bridge = bpf.DatapathReasonPASS_BRIDGE
		mac    = bpf.DatapathReasonDROP_SOURCE_MAC
		ipv4   = bpf.DatapathReasonDROP_SOURCE_IPV4
		vlan   = bpf.DatapathReasonDROP_VLAN
	)
	to := func(mac packet.MAC) func(*packet.Packet) {
		return func(p *packet.Packet) { p.Ethernet.DstMAC = mac[:] }
	}
	as := func(mac packet.MAC) func(*packet.Packet) {
		return func(p *packet.Packet) { p.Ethernet.SrcMAC = mac[:] }
	}
	changes := func(all ...func(*packet.Packet)) func(*packet.Packet) {
		return func(p *packet.Packet) {
			for _, change := range all {
				change(p)
			}
		}
	}
	tagged := func(high, low byte) func([]byte) []byte {
		return func(b []byte) []byte { b = tag(layers.EthernetTypeDot1Q)(b); b[14], b[15] = high, low; return b }
	}
	rows := []struct {
		name   string
		packet func(*packet.Packet)
		bytes  func([]byte) []byte
		want   bpf.DatapathReason
	}{
		{name: "to an endpoint", want: bridge},
		{name: "from the endpoint's MAC", packet: as(own.mac), want: bridge},
		{name: "from the endpoint's address", packet: from(own.addr), want: bridge},
		{name: "from a far address", packet: from(remoteAddr), want: bridge},
		{name: "to an unknown MAC", packet: to(packet.MAC{2, 9, 9, 9, 9, 9}), want: bridge},
		{name: "to everybody", packet: to(packet.Broadcast), want: bridge},
		{name: "to a group", packet: to(packet.MAC{1, 0, 0x5e, 0, 0, 5}), want: bridge},
		{name: "to where it comes from", packet: to(own.mac), want: bpf.DatapathReasonDROP_UNKNOWN_MAC},
		{name: "to a reserved address", packet: to(packet.MAC{1, 0x80, 0xc2, 0, 0, 3}), want: bpf.DatapathReasonDROP_RESERVED},
		{name: "from another's MAC", packet: as(other.mac), want: mac},
		{name: "from the gateway's MAC", packet: as(gatewayMAC), want: mac},
		{name: "from another's address", packet: from(other.addr), want: ipv4},
		{name: "from another's address and its own MAC", packet: changes(as(own.mac), from(other.addr)), want: ipv4},
		{name: "from another's address to everybody", packet: changes(to(packet.Broadcast), from(other.addr)), want: ipv4},
		{name: "from a far address to everybody", packet: changes(to(packet.Broadcast), from(remoteAddr)), want: ipv4},
		{name: "from the host's address to a group", packet: changes(to(packet.MAC{1, 0, 0x5e, 0, 0, 5}), from(outsideAddr)), want: ipv4},
		{name: "from no address to everybody", packet: changes(to(packet.Broadcast), from(netip.IPv4Unspecified())), want: bridge},
		{name: "from a far address to everybody of a VLAN", packet: changes(to(packet.Broadcast), from(remoteAddr)), bytes: tagged(0, 5),
			want: bridge},
		{name: "from the gateway's address", packet: from(gatewayAddr), want: ipv4},
		{name: "VLAN", bytes: tagged(0, 5), want: bridge},
		{name: "VLAN, from another's address", packet: from(other.addr), bytes: tagged(0, 5), want: bridge},
		{name: "VLAN, from another's MAC", packet: as(other.mac), bytes: tagged(0, 5), want: mac},
		{name: "VLAN, to the gateway", packet: to(gatewayMAC), bytes: tagged(0, 5), want: vlan},
		{name: "priority alone", bytes: tagged(0xe0, 0), want: vlan},
		{name: "priority alone, from another's address", packet: from(other.addr), bytes: tagged(0x20, 0), want: vlan},
		{name: "LLC/SNAP", bytes: llc, want: bridge},
		{name: "LLC/SNAP from another's MAC", packet: as(other.mac), bytes: llc, want: mac},
		{name: "DHCP offer", packet: func(p *packet.Packet) { p.UDP.SrcPort = 67 }, want: bridge},
		{name: "the endpoint's DHCP offer", want: bridge,
			packet: changes(as(own.mac), from(own.addr), func(p *packet.Packet) { p.UDP.SrcPort = 67 })},
		{name: "truncated IP", bytes: func(b []byte) []byte { return b[:40] }, want: bpf.DatapathReasonDROP_MALFORMED},
		{name: "oversize", packet: func(p *packet.Packet) { p.Payload = make([]byte, mtu-20-8+1) }, want: bpf.DatapathReasonDROP_OVERSIZE},
		{name: "largest with a tag", packet: func(p *packet.Packet) { p.Payload = make([]byte, mtu-20-8) }, bytes: tagged(0, 5), want: bridge},
		{name: "to the gateway", packet: changes(to(gatewayMAC), func(p *packet.Packet) { p.IPv4.DstIP = gatewayAddr.AsSlice() }), want: bridge},
		{name: "to the outside", packet: toOutside, want: bridge},
		{name: "to the outside, from its own address", packet: changes(toOutside, from(own.addr)), want: bridge},
		{name: "to the outside, from another's address", packet: changes(toOutside, from(other.addr)), want: ipv4},
		{name: "to the outside, from a far address", packet: changes(toOutside, from(remoteAddr)), want: ipv4},
		{name: "to the outside, from the host's address", packet: changes(toOutside, from(outsideAddr)), want: ipv4},
		{name: "to what is no uplink", want: bpf.DatapathReasonDROP_ROUTE,
			packet: changes(toOutside, func(p *packet.Packet) { p.IPv4.DstIP = elsewhereAddr.AsSlice() })},
		{name: "to another network", want: bridge,
			packet: changes(toOutside, func(p *packet.Packet) { p.IPv4.DstIP = d.endpoints[3].addr.AsSlice() })},
		{name: "to nobody of another network", want: bpf.DatapathReasonDROP_UNASSIGNED,
			packet: changes(toOutside, func(p *packet.Packet) { p.IPv4.DstIP = net.IPv4(10, 2, 0, 77) })},
		{name: "from another network's address", packet: from(d.endpoints[3].addr), want: ipv4},
		{name: "from an unassigned address of another network", packet: from(netip.MustParseAddr("10.2.0.77")), want: ipv4},
		{name: "to loopback", want: bpf.DatapathReasonDROP_MARTIAN,
			packet: changes(toOutside, func(p *packet.Packet) { p.IPv4.DstIP = net.IPv4(127, 0, 0, 1) })},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := d.station()
			if row.packet != nil {
				row.packet(p)
			}
			frame := p.Bytes()
			if row.bytes != nil {
				frame = row.bytes(frame)
			}
			d.expect(t, d.fromEndpoint(1, frame), expectation{reason: row.want})
			if d.count(t) != 0 {
				t.Fatal("there is a session")
			}
		})
	}
}

// TestUnguardedOwn: what the endpoint itself sends takes the fast path.
func TestUnguardedOwn(t *testing.T) {
	d := load(t, options{Unguarded: 1})
	p := d.neighbourly(layers.IPProtocolUDP, nil)
	d.expect(t, d.fromEndpoint(1, p.Bytes()), expectation{reason: bpf.DatapathReasonFORWARD_ENDPOINT, to: 2})
	d.masquerade(t, 1, layers.IPProtocolUDP, d.sent(1, 1000, remote(443)), nil)
}

// TestUnguardedRouted: on a network without masquerade, a source is where the host would look for it, or nothing.
func TestUnguardedRouted(t *testing.T) {
	d := load(t, options{Unguarded: 3})
	d.routeBack(t)
	for _, row := range []struct {
		name string
		src  netip.Addr
		want bpf.DatapathReason
	}{
		{"station", netip.MustParseAddr("10.2.0.77"), bpf.DatapathReasonPASS_BRIDGE},
		{"from far away", remoteAddr, bpf.DatapathReasonDROP_SOURCE_IPV4},
		{"from the host's address", outsideAddr, bpf.DatapathReasonDROP_SOURCE_IPV4},
		{"from another network's address", d.endpoints[1].addr, bpf.DatapathReasonDROP_SOURCE_IPV4},
		{"from another network's unassigned address", nobody, bpf.DatapathReasonDROP_SOURCE_IPV4},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := d.sent(3, 1000, remote(443))
			e.Source = netip.AddrPortFrom(row.src, 1000)
			e.SourceMAC = stationMAC
			d.expect(t, d.fromEndpoint(3, packet.New(layers.IPProtocolUDP, e, nil).Bytes()), expectation{reason: row.want})
		})
	}
}

// TestUnguardedSlow: what the stack sends out for a station leaves by no means.
func TestUnguardedSlow(t *testing.T) {
	d := load(t, options{Unguarded: 1})
	for _, proto := range []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolTCP, layers.IPProtocolICMPv4} {
		e := d.sent(1, 1000, remote(443))
		e.Source = netip.AddrPortFrom(nobody, 1000)
		d.expect(t, d.toUplink(1, packet.New(proto, e, nil).Bytes()), expectation{reason: bpf.DatapathReasonDROP_NO_ENDPOINT})
	}
}

// TestUnguardedNeighbours: endpoint 2 is guarded, and may talk to stations behind endpoint 1.
func TestUnguardedNeighbours(t *testing.T) {
	d := load(t, options{Unguarded: 1})
	own := d.endpoints[2]
	sent := func(change func(*packet.Packet)) []byte {
		p := packet.New(layers.IPProtocolUDP, packet.Ends{SourceMAC: own.mac, DestinationMAC: stationMAC,
			Source: netip.AddrPortFrom(own.addr, 1000), Destination: netip.AddrPortFrom(nobody, 2000)}, nil)
		change(p)
		return p.Bytes()
	}
	hostEnd := d.macOf(t, own.ifindex)
	for _, row := range []struct {
		name  string
		frame []byte
		want  bpf.DatapathReason
	}{
		{"to a station", sent(func(*packet.Packet) {}), bpf.DatapathReasonPASS_BRIDGE},
		{"to itself", sent(func(p *packet.Packet) { p.Ethernet.DstMAC = own.mac[:] }), bpf.DatapathReasonDROP_UNKNOWN_MAC},
		{"to the host's end of its pair", sent(func(p *packet.Packet) { p.Ethernet.DstMAC = hostEnd[:] }), bpf.DatapathReasonDROP_UNKNOWN_MAC},
		{"from a station's MAC", sent(func(p *packet.Packet) { p.Ethernet.SrcMAC = stationMAC[:] }), bpf.DatapathReasonDROP_SOURCE_MAC},
		{"from a station's address", sent(from(nobody)), bpf.DatapathReasonDROP_SOURCE_IPV4},
		{"to a station, by the gateway", sent(func(p *packet.Packet) { p.Ethernet.DstMAC = gatewayMAC[:] }), bpf.DatapathReasonPASS_HOST},
		{"request for a station", packet.ARPRequest(own.mac, own.addr, nobody).Bytes(), bpf.DatapathReasonPASS_BROADCAST},
		{"reply to a station", packet.ARPReply(own.mac, own.addr, stationMAC, nobody).Bytes(), bpf.DatapathReasonDROP_ARP_REPLY},
		{"reply for a station", packet.ARPReply(own.mac, nobody, gatewayMAC, gatewayAddr).Bytes(), bpf.DatapathReasonDROP_ARP_SENDER},
		{"solicitation of a station", packet.Solicitation(own.mac, own.addr6, nobody6).Bytes(), bpf.DatapathReasonPASS_BROADCAST},
		{"probe for a station's address", packet.Solicitation(own.mac, netip.Addr{}, nobody6).Bytes(), bpf.DatapathReasonPASS_BROADCAST},
		{"advertisement of a station", packet.Advertisement(0, own.mac, nobody6, gatewayMAC, gateway6).Bytes(), bpf.DatapathReasonDROP_SOURCE_IPV6},
	} {
		t.Run(row.name, func(t *testing.T) {
			d.expect(t, d.fromEndpoint(2, row.frame), expectation{reason: row.want})
		})
	}
}

// TestUnguardedBetween: an isolated network is so for stations, too; from another network they are reached by the stack.
func TestUnguardedBetween(t *testing.T) {
	for _, isolated := range []bool{false, true} {
		d := load(t, options{Unguarded: 1, Isolated: isolated})
		there, back := bpf.DatapathReasonPASS_BRIDGE, bpf.DatapathReasonPASS_ROUTED
		if isolated {
			there, back = bpf.DatapathReasonDROP_ISOLATED, bpf.DatapathReasonDROP_ISOLATED
		}
		p := d.station()
		toOutside(p)
		p.IPv4.DstIP = d.endpoints[3].addr.AsSlice()
		d.expect(t, d.fromEndpoint(1, p.Bytes()), expectation{reason: there})
		reply := packet.New(layers.IPProtocolUDP, d.sent(3, 2000, netip.AddrPortFrom(nobody, 1000)), nil)
		d.expect(t, d.fromEndpoint(3, reply.Bytes()), expectation{reason: back})
	}
}
