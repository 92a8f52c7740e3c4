// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"

	"flyover/bpf"
	"flyover/test/packet"
)

// macOf is the MAC of the interface itself, which for an endpoint's is the host's end.
func (d *datapath) macOf(t *testing.T, ifindex uint32) packet.MAC {
	t.Helper()
	link, err := netlink.LinkByIndex(int(ifindex))
	if err != nil {
		t.Fatal(err)
	}
	return packet.MAC(link.Attrs().HardwareAddr)
}

// routeBack gives the host a route to the network without masquerade while the test runs.
func (d *datapath) routeBack(t *testing.T) {
	t.Helper()
	r := &netlink.Route{LinkIndex: int(d.bridge), Scope: netlink.SCOPE_LINK, Dst: netlink.NewIPNet(routedSubnet.Addr().AsSlice())}
	r.Dst.Mask = maskBits(routedSubnet)
	if err := netlink.RouteReplace(r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.RouteDel(r); err != nil {
			t.Error(err)
		}
	})
}

func maskBits(p netip.Prefix) []byte { m := maskOf(p); return m[:] }

// TestUnguardedARP: a station asks and answers for itself, and for nobody who is configured.
func TestUnguardedARP(t *testing.T) {
	d := load(t, options{Unguarded: 1})
	own, other := d.endpoints[1], d.endpoints[2]
	another := netip.MustParseAddr("192.168.15.78")
	answer := func(mac packet.MAC, owner netip.Addr) *packet.Packet {
		return packet.ARPReply(mac, owner, stationMAC, nobody)
	}
	told := func(change func(*packet.Packet)) *packet.Packet {
		p := packet.ARPReply(stationMAC, nobody, other.mac, other.addr)
		change(p)
		return p
	}
	for _, row := range []struct {
		name           string
		packet, answer *packet.Packet
		want           bpf.DatapathReason
	}{
		{"request for an endpoint", packet.ARPRequest(stationMAC, nobody, other.addr), answer(other.mac, other.addr), bpf.DatapathReasonANSWER_ARP},
		{"request for the gateway", packet.ARPRequest(stationMAC, nobody, gatewayAddr), answer(gatewayMAC, gatewayAddr), bpf.DatapathReasonANSWER_ARP},
		{"request for another station", packet.ARPRequest(stationMAC, nobody, another), nil, bpf.DatapathReasonPASS_BRIDGE},
		{"announcement", packet.ARPRequest(stationMAC, nobody, nobody), nil, bpf.DatapathReasonPASS_BRIDGE},
		{"probe", packet.ARPRequest(stationMAC, netip.IPv4Unspecified(), nobody), nil, bpf.DatapathReasonPASS_BRIDGE},
		{"for a station behind, by the endpoint's MAC", packet.ARPRequest(own.mac, nobody, another), nil, bpf.DatapathReasonPASS_BROADCAST},
		{"announcement of another endpoint's", packet.ARPRequest(stationMAC, other.addr, other.addr), nil, bpf.DatapathReasonDROP_ARP_SENDER},
		{"announcement of the gateway's", packet.ARPRequest(stationMAC, gatewayAddr, gatewayAddr), nil, bpf.DatapathReasonDROP_ARP_SENDER},
		{"reply", told(func(*packet.Packet) {}), nil, bpf.DatapathReasonPASS_BRIDGE},
		{"reply to the host", told(func(p *packet.Packet) { p.Ethernet.DstMAC = gatewayMAC[:] }), nil, bpf.DatapathReasonPASS_HOST},
		{"reply for another endpoint", told(func(p *packet.Packet) { p.ARP.SourceProtAddress = other.addr.AsSlice() }), nil,
			bpf.DatapathReasonDROP_ARP_SENDER},
		{"reply with another's MAC", told(func(p *packet.Packet) { p.ARP.SourceHwAddress = other.mac[:] }), nil, bpf.DatapathReasonDROP_ARP_SENDER},
		{"reply with another station's MAC", told(func(p *packet.Packet) { p.ARP.SourceHwAddress = packet.Broadcast[:] }), nil,
			bpf.DatapathReasonDROP_ARP_SENDER},
		{"from another's MAC", packet.ARPRequest(other.mac, nobody, another), nil, bpf.DatapathReasonDROP_SOURCE_MAC},
		{"unknown operation", told(func(p *packet.Packet) { p.ARP.Operation = 3 }), nil, bpf.DatapathReasonDROP_ARP_MALFORMED},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := expectation{reason: row.want}
			if row.answer != nil {
				want.frame = row.answer.Bytes()
			}
			d.expect(t, d.fromEndpoint(1, row.packet.Bytes()), want)
		})
	}
}

// TestUnguardedND is the same of neighbour discovery, and of router advertisements.
func TestUnguardedND(t *testing.T) {
	d := load(t, options{Unguarded: 1})
	own, other := d.endpoints[1], d.endpoints[2]
	local, another := packet.LinkLocal(stationMAC), netip.MustParseAddr("fd00:15::78")
	advertises := func(flags byte, target netip.Addr) *packet.Packet {
		return packet.Advertisement(flags, stationMAC, target, other.mac, other.addr6)
	}
	advertisement := packet.Neighbour(layers.ICMPv6TypeRouterAdvertisement, packet.Ends{SourceMAC: stationMAC, DestinationMAC: packet.MAC{0x33, 0x33, 0, 0, 0, 1},
		Source: netip.AddrPortFrom(local, 0), Destination: netip.AddrPortFrom(netip.IPv6LinkLocalAllNodes(), 0)}, 0, local)
	forged := packet.Neighbour(layers.ICMPv6TypeRouterAdvertisement, packet.Ends{SourceMAC: stationMAC, DestinationMAC: packet.MAC{0x33, 0x33, 0, 0, 0, 1},
		Source: netip.AddrPortFrom(packet.LinkLocal(gatewayMAC), 0), Destination: netip.AddrPortFrom(netip.IPv6LinkLocalAllNodes(), 0)}, 0, local)
	withMAC := func(mac packet.MAC) *packet.Packet {
		p := advertises(0, nobody6)
		copy(p.Payload[len(p.Payload)-6:], mac[:])
		return p
	}
	for _, row := range []struct {
		name           string
		packet, answer *packet.Packet
		want           bpf.DatapathReason
	}{
		{"of an endpoint", packet.Solicitation(stationMAC, nobody6, other.addr6),
			packet.Advertisement(toSolicitation, other.mac, other.addr6, stationMAC, nobody6), bpf.DatapathReasonANSWER_ND},
		{"of the gateway", packet.Solicitation(stationMAC, local, gateway6),
			packet.Advertisement(toSolicitation|packet.Router, gatewayMAC, gateway6, stationMAC, local), bpf.DatapathReasonANSWER_ND},
		{"probe for an endpoint's", packet.Solicitation(stationMAC, netip.Addr{}, other.addr6),
			packet.Advertisement(toProbe, other.mac, other.addr6, stationMAC, netip.Addr{}), bpf.DatapathReasonANSWER_ND},
		{"of another station", packet.Solicitation(stationMAC, nobody6, another), nil, bpf.DatapathReasonPASS_BRIDGE},
		{"probe for its own", packet.Solicitation(stationMAC, netip.Addr{}, nobody6), nil, bpf.DatapathReasonPASS_BRIDGE},
		{"by the endpoint", packet.Solicitation(own.mac, own.addr6, another), nil, bpf.DatapathReasonPASS_BROADCAST},
		{"advertisement", advertises(packet.Solicited, nobody6), nil, bpf.DatapathReasonPASS_BRIDGE},
		{"advertisement of another endpoint's", packet.Neighbour(layers.ICMPv6TypeNeighborAdvertisement, packet.Ends{
			SourceMAC: stationMAC, DestinationMAC: other.mac, Source: netip.AddrPortFrom(nobody6, 0), Destination: netip.AddrPortFrom(other.addr6, 0),
		}, packet.Override, gateway6, packet.LinkLayer(packet.TargetLinkLayer, stationMAC)), nil, bpf.DatapathReasonDROP_ND_TARGET},
		{"advertisement with another's MAC", withMAC(other.mac), nil, bpf.DatapathReasonDROP_ND_LINK_LAYER},
		{"router advertisement", advertisement, nil, bpf.DatapathReasonPASS_BRIDGE},
		{"router advertisement of the gateway", forged, nil, bpf.DatapathReasonDROP_SOURCE_IPV6},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := expectation{reason: row.want}
			if row.answer != nil {
				want.frame = row.answer.Bytes()
			}
			d.expect(t, d.fromEndpoint(1, row.packet.Bytes()), want)
		})
	}
}
