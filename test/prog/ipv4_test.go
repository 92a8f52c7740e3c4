// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// routerAlert is the commonest IPv4 option, RFC 2113.
var routerAlert = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}

// ipv4Row is one change to a valid packet of endpoint 1 to a remote, which would be translated.
type ipv4Row struct {
	name   string
	proto  layers.IPProtocol // UDP if it is 0
	packet func(*packet.Packet)
	bytes  func([]byte) []byte
	want   bpf.DatapathReason
}

func (d *datapath) expectOutward(t *testing.T, rows []ipv4Row) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if row.proto == 0 {
				row.proto = layers.IPProtocolUDP
			}
			p := packet.New(row.proto, d.sent(1, 21000, remote(53)), []byte("payload"))
			if row.packet != nil {
				row.packet(p)
			}
			frame := p.Bytes()
			if row.bytes != nil {
				frame = row.bytes(frame)
			}
			d.expect(t, d.fromEndpoint(1, frame), expectation{reason: row.want})
			d.checkBijection(t)
			if n := d.count(t); n != 0 {
				t.Errorf("%d sessions, want none", n)
			}
		})
	}
}

// set changes one octet of the IPv4 header.
func set(at int, value byte) func([]byte) []byte {
	return func(b []byte) []byte { b[14+at] = value; return b }
}

// summed has the right checksum of an IPv4 header without options.
func summed(b []byte) []byte {
	binary.BigEndian.PutUint16(b[24:], 0)
	binary.BigEndian.PutUint16(b[24:], checksum(b[14:34]))
	return b
}

func cut(length int) func([]byte) []byte {
	return func(b []byte) []byte { return b[:length] }
}

func TestIPv4Malformed(t *testing.T) {
	d := load(t, options{})
	const malformed = bpf.DatapathReasonDROP_MALFORMED
	d.expectOutward(t, []ipv4Row{
		{name: "header length 0", bytes: set(0, 0x40), want: malformed},
		{name: "header length 4 words", bytes: set(0, 0x44), want: malformed},
		{name: "header length beyond total length", bytes: set(0, 0x4f), want: malformed},
		{name: "version 5", bytes: set(0, 0x55), want: malformed},
		{name: "version 6", bytes: set(0, 0x65), want: malformed},
		{name: "version 0", bytes: set(0, 0x05), want: malformed},
		{name: "total length one more than the frame", bytes: set(3, 36), want: malformed},
		{name: "total length 65535", bytes: func(b []byte) []byte { b[16], b[17] = 0xff, 0xff; return b }, want: malformed},
		{name: "total length 19", bytes: set(3, 19), want: malformed},
		{name: "total length 0", bytes: set(3, 0), want: malformed},
		{name: "payload truncated", bytes: cut(14 + 34), want: malformed},
	})
}

// TestIPv4Judged: what a router drops (RFC 1812 sections 5.2.2 and 5.3.7, RFC 7126 section 4.3).
func TestIPv4Judged(t *testing.T) {
	d := load(t, options{})
	to := func(addr string) func(*packet.Packet) {
		return func(p *packet.Packet) { p.IPv4.DstIP = netip.MustParseAddr(addr).AsSlice() }
	}
	option := func(options ...layers.IPv4Option) func(*packet.Packet) {
		return func(p *packet.Packet) { p.IPv4.Options = options }
	}
	route := layers.IPv4Option{OptionLength: 7, OptionData: []byte{4, 198, 51, 100, 9}}
	loose, strict := route, route
	loose.OptionType, strict.OptionType = 131, 137
	const martian, routed, sum = bpf.DatapathReasonDROP_MARTIAN, bpf.DatapathReasonDROP_SOURCE_ROUTE, bpf.DatapathReasonDROP_CHECKSUM
	d.expectOutward(t, []ipv4Row{
		{name: "to this network", packet: to("0.1.2.3"), want: martian},
		{name: "to the loopback", packet: to("127.0.0.1"), want: martian},
		{name: "multicast", packet: to("224.0.0.251"), want: martian},
		{name: "reserved", packet: to("240.0.0.1"), want: martian},
		{name: "broadcast", packet: to("255.255.255.255"), want: martian},
		{name: "loose source route", packet: option(loose), want: routed},
		{name: "strict source route after others", packet: option(layers.IPv4Option{OptionType: 1}, strict), want: routed},
		{name: "option beyond the header", packet: option(routerAlert...), want: routed,
			bytes: func(b []byte) []byte { b[35] = 5; return b }},
		{name: "option without its length", packet: option(routerAlert...), want: routed,
			bytes: func(b []byte) []byte { b[34], b[35], b[36], b[37] = 1, 1, 1, 148; return b }},
		{name: "wrong checksum", bytes: func(b []byte) []byte { b[24]++; return b }, want: sum},
		{name: "checksum of zero", bytes: func(b []byte) []byte { b[24], b[25] = 0, 0; return b }, want: sum},
		{name: "wrong checksum with options", packet: option(routerAlert...), want: sum,
			bytes: func(b []byte) []byte { b[25]++; return b }},
	})
}

// TestIPv4Short: whole by its total length, but too short for its transport header.
func TestIPv4Short(t *testing.T) {
	d := load(t, options{})
	shorten := func(length int) func([]byte) []byte {
		return func(b []byte) []byte { return summed(set(3, byte(length))(b))[:14+length] }
	}
	const transport = bpf.DatapathReasonDROP_TRANSPORT
	d.expectOutward(t, []ipv4Row{
		{name: "TCP, none", proto: layers.IPProtocolTCP, bytes: shorten(20), want: transport},
		{name: "TCP, ports alone", proto: layers.IPProtocolTCP, bytes: shorten(24), want: transport},
		{name: "TCP, 19 octets", proto: layers.IPProtocolTCP, bytes: shorten(39), want: transport},
		{name: "UDP, none", proto: layers.IPProtocolUDP, bytes: shorten(20), want: transport},
		{name: "UDP, 7 octets", proto: layers.IPProtocolUDP, bytes: shorten(27), want: transport},
		{name: "ICMP, none", proto: layers.IPProtocolICMPv4, bytes: shorten(20), want: transport},
		{name: "ICMP, 7 octets", proto: layers.IPProtocolICMPv4, bytes: shorten(27), want: transport},
	})
}

// TestIPv4Padding: octets of the frame after the total length are no part of the packet.
func TestIPv4Padding(t *testing.T) {
	d := load(t, options{})
	pad := func(length int) func([]byte) []byte {
		return func(b []byte) []byte {
			return append(summed(set(3, byte(length))(b))[:14+length], make([]byte, 46)...)
		}
	}
	const transport = bpf.DatapathReasonDROP_TRANSPORT
	d.expectOutward(t, []ipv4Row{
		{name: "UDP of 4 octets", bytes: pad(24), want: transport},
		{name: "TCP of 8 octets", proto: layers.IPProtocolTCP, bytes: pad(28), want: transport},
		{name: "ICMP of 4 octets", proto: layers.IPProtocolICMPv4, bytes: pad(24), want: transport},
	})
}

func TestIPv4ToTheStack(t *testing.T) {
	d := load(t, options{})
	to := func(a netip.Addr) func(*packet.Packet) {
		return func(p *packet.Packet) { p.IPv4.DstIP = a.AsSlice() }
	}
	d.expectOutward(t, []ipv4Row{
		{name: "to the gateway", packet: to(gatewayAddr), want: bpf.DatapathReasonPASS_HOST},
		{name: "to its own subnet", packet: to(d.endpoints[2].addr), want: bpf.DatapathReasonPASS_HOST},
		{name: "to the network's broadcast address", packet: to(netip.MustParseAddr("192.168.15.255")), want: bpf.DatapathReasonPASS_HOST},
		{name: "to nobody of its own subnet", packet: to(nobody), want: bpf.DatapathReasonDROP_UNASSIGNED},
		{name: "to its own subnet's address", packet: to(subnet.Addr()), want: bpf.DatapathReasonDROP_UNASSIGNED},
		{name: "to the host's outside address", packet: to(outsideAddr), want: bpf.DatapathReasonPASS_HOST},
		{name: "to nowhere", packet: to(unroutableAddr), want: bpf.DatapathReasonPASS_HOST},
		{name: "to an interface that is no uplink", packet: to(elsewhereAddr), want: bpf.DatapathReasonDROP_ROUTE},
		{name: "TTL 1 to an interface that is no uplink", want: bpf.DatapathReasonDROP_ROUTE,
			packet: func(p *packet.Packet) { p.IPv4.TTL, p.IPv4.DstIP = 1, elsewhereAddr.AsSlice() }},
		{name: "fragment to an interface that is no uplink", want: bpf.DatapathReasonDROP_ROUTE,
			packet: func(p *packet.Packet) { p.IPv4.Flags, p.IPv4.DstIP = layers.IPv4MoreFragments, elsewhereAddr.AsSlice() }},
		{name: "TTL 0", packet: func(p *packet.Packet) { p.IPv4.TTL = 0 }, want: bpf.DatapathReasonPASS_TTL},
		{name: "TTL 1", packet: func(p *packet.Packet) { p.IPv4.TTL = 1 }, want: bpf.DatapathReasonPASS_TTL},
		{name: "options", packet: func(p *packet.Packet) { p.IPv4.Options = routerAlert }, want: bpf.DatapathReasonPASS_OPTIONS},
		{name: "GRE", packet: func(p *packet.Packet) { p.IPv4.Protocol = layers.IPProtocolGRE }, want: bpf.DatapathReasonPASS_PROTOCOL},
		{name: "SCTP", packet: func(p *packet.Packet) { p.IPv4.Protocol = layers.IPProtocolSCTP }, want: bpf.DatapathReasonPASS_PROTOCOL},
		{name: "protocol 255", packet: func(p *packet.Packet) { p.IPv4.Protocol = 255 }, want: bpf.DatapathReasonPASS_PROTOCOL},
		{name: "not IP", packet: func(p *packet.Packet) { p.Ethernet.EthernetType = layers.EthernetTypeMPLSUnicast },
			want: bpf.DatapathReasonPASS_ETHERTYPE},
	})
}

// TestIPv4TooBig: what the uplink does not take is the stack's, which fragments it or says so. The session stands by then.
func TestIPv4TooBig(t *testing.T) {
	d := load(t, options{})
	p := packet.New(layers.IPProtocolUDP, d.sent(1, 21000, remote(53)), make([]byte, mtu-20-8+1))
	d.expect(t, d.fromEndpoint(1, p.Bytes()), expectation{reason: bpf.DatapathReasonPASS_MTU})
}

// TestRouted: a network that is not masqueraded is the stack's business beyond its own segment.
func TestRouted(t *testing.T) {
	d := load(t, options{})
	p := packet.New(layers.IPProtocolUDP, d.sent(3, 21000, remote(53)), nil)
	d.expect(t, d.fromEndpoint(3, p.Bytes()), expectation{reason: bpf.DatapathReasonPASS_ROUTED})
	p = packet.New(layers.IPProtocolUDP, d.sent(3, 21000, netip.AddrPortFrom(nobody, 53)), nil)
	d.expect(t, d.fromEndpoint(3, p.Bytes()), expectation{reason: bpf.DatapathReasonDROP_UNASSIGNED})
}
