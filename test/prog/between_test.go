// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// across is a packet from an endpoint to an address of the other network, and what is to become of it there. Endpoint 1 is of a network that is
// masqueraded, 3 of one that is not.
type across struct {
	name   string
	proto  layers.IPProtocol
	change func(*packet.Packet)
	want   bpf.DatapathReason
}

var acrossRows = []across{
	{name: "UDP", proto: layers.IPProtocolUDP, want: bpf.DatapathReasonFORWARD_NETWORK},
	{name: "TCP", proto: layers.IPProtocolTCP, want: bpf.DatapathReasonFORWARD_NETWORK},
	{name: "ping", proto: layers.IPProtocolICMPv4, want: bpf.DatapathReasonFORWARD_NETWORK},
	{name: "protocol without ports", proto: layers.IPProtocolUDP, want: bpf.DatapathReasonFORWARD_NETWORK,
		change: func(p *packet.Packet) { p.IPv4.Protocol = layers.IPProtocolGRE }},
	{name: "largest", proto: layers.IPProtocolUDP, want: bpf.DatapathReasonFORWARD_NETWORK,
		change: func(p *packet.Packet) { p.Payload = make([]byte, mtu-20-8) }},
	{name: "too large", proto: layers.IPProtocolUDP, want: bpf.DatapathReasonPASS_MTU,
		change: func(p *packet.Packet) { p.Payload = make([]byte, mtu-20-8+1) }},
	{name: "TTL 2", proto: layers.IPProtocolUDP, want: bpf.DatapathReasonFORWARD_NETWORK,
		change: func(p *packet.Packet) { p.IPv4.TTL = 2 }},
	{name: "TTL 1", proto: layers.IPProtocolUDP, want: bpf.DatapathReasonPASS_TTL,
		change: func(p *packet.Packet) { p.IPv4.TTL = 1 }},
	{name: "options", proto: layers.IPProtocolUDP, want: bpf.DatapathReasonPASS_OPTIONS,
		change: func(p *packet.Packet) { p.IPv4.Options = routerAlert }},
	{name: "first fragment", proto: layers.IPProtocolUDP, want: bpf.DatapathReasonPASS_FRAGMENT,
		change: func(p *packet.Packet) { p.IPv4.Flags = layers.IPv4MoreFragments }},
}

// TestBetweenNetworks: networks that are not isolated reach each other, with their own addresses and one hop less.
func TestBetweenNetworks(t *testing.T) {
	for _, row := range acrossRows {
		t.Run(row.name, func(t *testing.T) {
			d := load(t, options{})
			for from, to := range map[int]int{1: 3, 3: 1} {
				p := packet.New(row.proto, d.sent(from, 21000, netip.AddrPortFrom(d.endpoints[to].addr, 53)), []byte("payload"))
				if row.change != nil {
					row.change(p)
				}
				want := expectation{reason: row.want}
				in := d.fromEndpoint(from, p.Bytes())
				if row.want == bpf.DatapathReasonFORWARD_NETWORK {
					p.Ethernet.SrcMAC, p.Ethernet.DstMAC = gatewayMAC[:], d.endpoints[to].mac[:]
					p.IPv4.TTL--
					want.frame, want.to = p.Bytes(), uint32(to)
				}
				d.expect(t, in, want)
			}
		})
	}
}

// TestBetweenNetworks6 is the same of IPv6, whose header has no checksum.
func TestBetweenNetworks6(t *testing.T) {
	d := load(t, options{})
	for from, to := range map[int]int{1: 3, 3: 1} {
		p := packet.New(layers.IPProtocolTCP, packet.Ends{
			SourceMAC: d.endpoints[from].mac, DestinationMAC: gatewayMAC,
			Source: netip.AddrPortFrom(d.endpoints[from].addr6, 1000), Destination: netip.AddrPortFrom(d.endpoints[to].addr6, 2000),
		}, []byte("payload"))
		in := d.fromEndpoint(from, p.Bytes())
		p.Ethernet.SrcMAC, p.Ethernet.DstMAC = gatewayMAC[:], d.endpoints[to].mac[:]
		p.IPv6.HopLimit--
		d.expect(t, in, expectation{reason: bpf.DatapathReasonFORWARD_NETWORK, frame: p.Bytes(), to: uint32(to)})
	}
}

// TestIsolated: whichever of the two networks is isolated, nothing passes in either direction; the host can be reached.
func TestIsolated(t *testing.T) {
	for _, isolated := range []uint32{masqueraded, routed} {
		d := load(t, options{Isolated: isolated == masqueraded})
		if isolated == routed {
			put(t, d.FoNetworks, uint32(routed), bpf.DatapathNetworkEntry{
				Gateway4: routedGateway.As4(), Subnet4: routedSubnet.Addr().As4(), Mask4: maskOf(routedSubnet),
				Bridge: d.bridge, Mtu: mtu, GatewayMac: gatewayMAC, // not NETWORK_ROUTED
			})
		}
		put(t, d.FoNeighbours4, bpf.DatapathNeighbourKey{Network: routed, Addr: routedGateway.As4()},
			bpf.DatapathNeighbourEntry{Mac: gatewayMAC, Ifindex: d.bridge})
		send := func(from int, to netip.Addr, want bpf.DatapathReason) {
			t.Helper()
			for _, row := range acrossRows {
				t.Run(row.name, func(t *testing.T) {
					p := packet.New(row.proto, d.sent(from, 21000, netip.AddrPortFrom(to, 53)), []byte("payload"))
					if row.change != nil {
						row.change(p)
					}
					d.expect(t, d.fromEndpoint(from, p.Bytes()), expectation{reason: want})
				})
			}
		}
		send(1, d.endpoints[3].addr, bpf.DatapathReasonDROP_ISOLATED)
		send(3, d.endpoints[1].addr, bpf.DatapathReasonDROP_ISOLATED)
		send(3, nobody, bpf.DatapathReasonDROP_ISOLATED)
		p := packet.New(layers.IPProtocolTCP, d.sent(1, 21000, netip.AddrPortFrom(routedGateway, 53)), nil)
		d.expect(t, d.fromEndpoint(1, p.Bytes()), expectation{reason: bpf.DatapathReasonPASS_HOST})
		p = packet.New(layers.IPProtocolTCP, d.sent(3, 21000, netip.AddrPortFrom(gatewayAddr, 53)), nil)
		d.expect(t, d.fromEndpoint(3, p.Bytes()), expectation{reason: bpf.DatapathReasonPASS_HOST})
		d.checkBijection(t)
	}
}
