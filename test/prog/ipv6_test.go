// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// neighbourly6 is a packet of IPv6 from endpoint 1 to endpoint 2 of the same network.
func (d *datapath) neighbourly6(proto layers.IPProtocol, payload []byte) *packet.Packet {
	from, to := d.endpoints[1], d.endpoints[2]
	e := packet.Ends{
		SourceMAC: from.mac, DestinationMAC: to.mac,
		Source: netip.AddrPortFrom(from.addr6, 1000), Destination: netip.AddrPortFrom(to.addr6, 2000),
	}
	if proto == layers.IPProtocolTCP || proto == layers.IPProtocolUDP {
		return packet.New(proto, e, payload)
	}
	return packet.IPv6(proto, e, payload)
}

func TestIPv6Guard(t *testing.T) {
	d := load(t, options{})
	own, other := d.endpoints[1], d.endpoints[2]
	forward := expectation{reason: bpf.DatapathReasonFORWARD_ENDPOINT, to: 2}
	pass := expectation{reason: bpf.DatapathReasonPASS_BROADCAST}
	drop := func(r bpf.DatapathReason) expectation { return expectation{reason: r} }
	from := func(a string) func(*packet.Packet) {
		return func(p *packet.Packet) { p.IPv6.SrcIP = netip.MustParseAddr(a).AsSlice() }
	}
	to := func(a string) func(*packet.Packet) {
		return func(p *packet.Packet) { p.IPv6.DstIP = netip.MustParseAddr(a).AsSlice() }
	}
	group := func(p *packet.Packet) {
		p.Ethernet.DstMAC, p.IPv6.DstIP = []byte{0x33, 0x33, 0, 0, 0, 0xfb}, netip.MustParseAddr("ff02::fb").AsSlice()
	}
	rows := []struct {
		name   string
		proto  layers.IPProtocol
		change func(*packet.Packet)
		bytes  func([]byte) []byte
		want   expectation
	}{
		{name: "UDP", want: forward},
		{name: "TCP", proto: layers.IPProtocolTCP, want: forward},
		{name: "GRE", proto: layers.IPProtocolGRE, want: forward},
		{name: "nothing behind the header", proto: layers.IPProtocolNoNextHeader, want: forward,
			change: func(p *packet.Packet) { p.Payload = nil }},
		{name: "link-local source", want: forward, change: from(packet.LinkLocal(own.mac).String())},
		{name: "mDNS", want: pass, change: group},
		{name: "source of another", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV6), change: from(other.addr6.String())},
		{name: "source of the gateway", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV6), change: from(gateway6.String())},
		{name: "source, first octet", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV6), change: from("fc00:15::1")},
		{name: "source, ninth octet", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV6), change: from("fd00:15::0100:0:0:1")},
		{name: "no source", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV6), change: from("::")},
		{name: "source loopback", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV6), change: from("::1")},
		{name: "source multicast", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV6), change: from("ff02::1")},
		{name: "link-local source of another", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV6),
			change: from(packet.LinkLocal(other.mac).String())},
		{name: "link-local source, subnet not 0", want: drop(bpf.DatapathReasonDROP_SOURCE_IPV6), change: from("fe80::1:0:f1ff:fe00:1")},
		{name: "to nowhere", want: drop(bpf.DatapathReasonDROP_MARTIAN), change: to("::")},
		{name: "to loopback", want: drop(bpf.DatapathReasonDROP_MARTIAN), change: to("::1")},
		{name: "to an IPv4-mapped address", want: drop(bpf.DatapathReasonDROP_MARTIAN), change: to("::ffff:192.168.15.2")},
		{name: "to interface-local", want: drop(bpf.DatapathReasonDROP_MARTIAN), change: to("ff01::1")},
		{name: "to reserved scope", want: drop(bpf.DatapathReasonDROP_MARTIAN), change: to("ff00::1")},
		{name: "to a MAC that is nobody's", want: drop(bpf.DatapathReasonDROP_UNKNOWN_MAC),
			change: func(p *packet.Packet) { p.Ethernet.DstMAC = []byte{2, 0, 0, 0, 0, 9} }},
		{name: "DHCPv6 server", want: drop(bpf.DatapathReasonDROP_DHCP_SERVER), change: func(p *packet.Packet) { p.UDP.SrcPort = 547 }},
		{name: "DHCPv6 server, multicast", want: drop(bpf.DatapathReasonDROP_DHCP_SERVER),
			change: func(p *packet.Packet) { group(p); p.UDP.SrcPort = 547 }},
		{name: "DHCPv6 server behind options", want: drop(bpf.DatapathReasonDROP_DHCP_SERVER),
			change: func(p *packet.Packet) { p.UDP.SrcPort = 547 }, bytes: behind(layers.IPProtocolIPv6Destination, extension(0, 31))},
		{name: "DHCPv6 client", want: pass, change: func(p *packet.Packet) { group(p); p.UDP.SrcPort, p.UDP.DstPort = 546, 547 }},
		{name: "version 4", want: drop(bpf.DatapathReasonDROP_MALFORMED), bytes: func(b []byte) []byte { b[14] = 0x45; return b }},
		{name: "an octet missing", want: drop(bpf.DatapathReasonDROP_MALFORMED), bytes: func(b []byte) []byte { return b[:len(b)-1] }},
		{name: "padded", want: expectation{reason: forward.reason, to: 2}, bytes: func(b []byte) []byte { return append(b, 0, 0, 0) }},
		{name: "UDP without a header", proto: layers.IPProtocolUDP, want: drop(bpf.DatapathReasonDROP_TRANSPORT),
			bytes: func(b []byte) []byte { b[18], b[19] = 0, 1; return b[:55] }},
		{name: "tagged", want: drop(bpf.DatapathReasonDROP_VLAN), bytes: tag(layers.EthernetTypeDot1Q)},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if row.proto == 0 {
				row.proto = layers.IPProtocolUDP
			}
			p := d.neighbourly6(row.proto, []byte("payload"))
			if row.change != nil {
				row.change(p)
			}
			frame := p.Bytes()
			if row.bytes != nil {
				frame = row.bytes(frame)
			}
			d.expect(t, d.fromEndpoint(1, frame), row.want)
		})
	}
}

// TestIPv6Unassigned: an endpoint of a network without IPv6 has not even a link-local address.
func TestIPv6Unassigned(t *testing.T) {
	d := load(t, options{})
	e := d.endpoints[1]
	put(t, d.FoEndpoints, bpf.DatapathEndpointKey{Ifindex: e.ifindex},
		bpf.DatapathEndpointEntry{Id: 1, Network: e.network, Addr4: e.addr.As4(), Mac: e.mac})
	for _, p := range []*packet.Packet{
		d.neighbourly6(layers.IPProtocolUDP, nil),
		packet.Solicitation(e.mac, netip.Addr{}, packet.LinkLocal(e.mac)),
		packet.Solicitation(e.mac, e.addr6, gateway6),
	} {
		d.expect(t, d.fromEndpoint(1, p.Bytes()), expectation{reason: bpf.DatapathReasonDROP_IPV6})
	}
}

// TestIPv6Extensions walks chains of extension headers up to the bound and over it, and those that are wrong.
func TestIPv6Extensions(t *testing.T) {
	d := load(t, options{})
	forward := expectation{reason: bpf.DatapathReasonFORWARD_ENDPOINT, to: 2}
	expect := func(name string, want expectation, changes ...func([]byte) []byte) {
		t.Run(name, func(t *testing.T) {
			frame := d.neighbourly6(layers.IPProtocolUDP, []byte("payload")).Bytes()
			for _, change := range changes {
				frame = change(frame)
			}
			d.expect(t, d.fromEndpoint(1, frame), want)
		})
	}
	const options, hop, routing, fragment = layers.IPProtocolIPv6Destination, layers.IPProtocolIPv6HopByHop,
		layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Fragment
	malformed := expectation{reason: bpf.DatapathReasonDROP_MALFORMED}
	for n := 1; n <= 64; n *= 2 {
		var all []func([]byte) []byte
		for range n {
			all = append(all, behind(options, extension(0, 1)))
		}
		want := forward
		if n > 8 {
			want = expectation{reason: bpf.DatapathReasonDROP_EXTENSIONS}
		}
		expect(fmt.Sprintf("%d headers", n), want, all...)
		if n == 8 {
			expect("9 headers", expectation{reason: bpf.DatapathReasonDROP_EXTENSIONS}, append(all, behind(options, extension(0, 1)))...)
		}
	}
	expect("hop-by-hop options", forward, behind(hop, extension(0, 1)))
	expect("hop-by-hop options second", malformed, behind(hop, extension(0, 1)), behind(options, extension(0, 1)))
	expect("routing header of type 0", expectation{reason: bpf.DatapathReasonDROP_SOURCE_ROUTE}, behind(routing, extension(0, 3)))
	expect("routing header of type 4", forward, behind(routing, append([]byte{0, 2, 4, 0}, make([]byte, 20)...)))
	expect("header longer than the packet", malformed, behind(options, extension(0, 1)), func(b []byte) []byte { b[55] = 9; return b })
	expect("header cut off", malformed, behind(options, extension(0, 1)),
		func(b []byte) []byte { b[18], b[19] = 0, 4; return b[:58] })
	expect("first fragment", forward, behind(fragment, []byte{0, 0, 0, 1, 0, 0, 0, 9}))
	expect("first fragment without its UDP header", expectation{reason: bpf.DatapathReasonDROP_TRANSPORT},
		behind(fragment, []byte{0, 0, 0, 1, 0, 0, 0, 9}), func(b []byte) []byte { b[18], b[19] = 0, 8; return b[:62] })
	expect("first fragment that ends in the chain", malformed, behind(options, extension(0, 4)), behind(fragment, []byte{0, 0, 0, 1, 0, 0, 0, 9}),
		func(b []byte) []byte { b[18], b[19] = 0, 24; return b[:78] })
	expect("later fragment", forward, behind(fragment, []byte{0, 0, 0, 9, 0, 0, 0, 9}))
	expect("later fragment that seems to have another", forward, behind(fragment, []byte{0, 0, 0, 1, 0, 0, 0, 9}),
		behind(fragment, []byte{0, 0, 0, 9, 0, 0, 0, 9}))
}

// TestIPv6Host: what is for the gateway's MAC.
func TestIPv6Host(t *testing.T) {
	d := load(t, options{})
	rows := []struct {
		name string
		from int
		to   netip.Addr
		want bpf.DatapathReason
	}{
		{"the gateway", 1, gateway6, bpf.DatapathReasonPASS_HOST},
		{"the gateway's link-local address", 1, packet.LinkLocal(gatewayMAC), bpf.DatapathReasonPASS_HOST},
		{"another endpoint", 1, d.endpoints[2].addr6, bpf.DatapathReasonPASS_HOST},
		{"a group", 1, netip.MustParseAddr("ff02::1"), bpf.DatapathReasonDROP_MARTIAN},
		{"nobody", 1, nobody6, bpf.DatapathReasonDROP_UNASSIGNED},
		{"nobody's link-local address", 1, netip.MustParseAddr("fe80::1"), bpf.DatapathReasonDROP_UNASSIGNED},
		{"another of the host's addresses", 1, outsideAddr6, bpf.DatapathReasonPASS_HOST},
		{"the outside, untranslated", 3, remoteAddr6, bpf.DatapathReasonPASS_ROUTED},
		{"nobody in another network", 3, nobody6, bpf.DatapathReasonDROP_UNASSIGNED},
		{"nobody on its own network", 3, netip.MustParseAddr("2001:db8:2:ffff::9"), bpf.DatapathReasonDROP_UNASSIGNED},
		{"next to its own network", 3, netip.MustParseAddr("2001:db8:3::9"), bpf.DatapathReasonPASS_ROUTED},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			e := d.endpoints[row.from]
			p := packet.New(layers.IPProtocolUDP, packet.Ends{
				SourceMAC: e.mac, DestinationMAC: gatewayMAC,
				Source: netip.AddrPortFrom(e.addr6, 1000), Destination: netip.AddrPortFrom(row.to, 2000),
			}, []byte("payload"))
			d.expect(t, d.fromEndpoint(row.from, p.Bytes()), expectation{reason: row.want})
		})
	}
}

// TestIPv6Subnet tries prefixes of every length that a subnet may have.
func TestIPv6Subnet(t *testing.T) {
	d := load(t, options{})
	e := d.endpoints[3]
	far := netip.MustParseAddr("2001:db8:7777:7777:7777:7777:7777:7777")
	for bits := 8; bits <= 127; bits++ {
		prefix := netip.PrefixFrom(far, bits).Masked()
		d.put6(t, routed, prefix)
		inside, outside := far.As16(), far.As16()
		inside[15] ^= 1
		outside[(bits-1)/8] ^= 0x80 >> ((bits - 1) % 8)
		of := bpf.DatapathReasonDROP_UNASSIGNED
		if netip.AddrFrom16(inside) == prefix.Addr() { // the router's, RFC 4291 section 2.6.1
			of = bpf.DatapathReasonPASS_HOST
		}
		for to, want := range map[netip.Addr]bpf.DatapathReason{
			netip.AddrFrom16(inside):  of,
			netip.AddrFrom16(outside): bpf.DatapathReasonPASS_ROUTED,
		} {
			p := packet.New(layers.IPProtocolUDP, packet.Ends{
				SourceMAC: e.mac, DestinationMAC: gatewayMAC, Source: netip.AddrPortFrom(e.addr6, 1), Destination: netip.AddrPortFrom(to, 2),
			}, nil)
			t.Run(fmt.Sprintf("%v in %v", to, prefix), func(t *testing.T) {
				d.expect(t, d.fromEndpoint(3, p.Bytes()), expectation{reason: want})
			})
		}
	}
}

// put6 gives the network another IPv6 subnet.
func (d *datapath) put6(t *testing.T, network uint32, prefix netip.Prefix) {
	t.Helper()
	var n bpf.DatapathNetworkEntry
	if err := d.FoNetworks.Lookup(network, &n); err != nil {
		t.Fatal(err)
	}
	n.Subnet6, n.Mask6 = prefix.Addr().As16(), mask6Of(prefix)
	put(t, d.FoNetworks, network, n)
}

// TestIPv6Uplink: no inside address of a masqueraded network passes an uplink, either way.
func TestIPv6Uplink(t *testing.T) {
	d := load(t, options{})
	in, out := d.endpoints[1].addr6, remoteAddr6
	frame := func(from, to netip.Addr) []byte {
		return packet.New(layers.IPProtocolUDP, packet.Ends{
			SourceMAC: packet.MAC{0x02, 0xee, 0, 0, 0, 1}, DestinationMAC: d.uplinkMAC,
			Source: netip.AddrPortFrom(from, 1000), Destination: netip.AddrPortFrom(to, 2000),
		}, nil).Bytes()
	}
	for name, row := range map[string]struct {
		in   injection
		want bpf.DatapathReason
	}{
		"to the host":           {d.fromUplink(frame(out, outsideAddr6)), bpf.DatapathReasonPASS_NO_SESSION},
		"to an endpoint":        {d.fromUplink(frame(out, in)), bpf.DatapathReasonDROP_UNSOLICITED},
		"to nobody inside":      {d.fromUplink(frame(out, nobody6)), bpf.DatapathReasonDROP_UNSOLICITED},
		"to the routed network": {d.fromUplink(frame(out, d.endpoints[3].addr6)), bpf.DatapathReasonPASS_NO_SESSION},
		"as an endpoint":        {d.fromUplink(frame(in, outsideAddr6)), bpf.DatapathReasonDROP_SOURCE_IPV6},
		"of the host":           {d.toUplink(0, frame(outsideAddr6, out)), bpf.DatapathReasonPASS_OWN},
		"of a routed endpoint":  {d.toUplink(3, frame(d.endpoints[3].addr6, out)), bpf.DatapathReasonPASS_OWN},
	} {
		t.Run(name, func(t *testing.T) { d.expect(t, row.in, expectation{reason: row.want}) })
	}
}
