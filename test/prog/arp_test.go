// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// arpRow is one change to a valid broadcast request of endpoint 1 for the address of endpoint 2.
type arpRow struct {
	name   string
	packet func(*packet.Packet)
	bytes  func([]byte) []byte
	want   bpf.DatapathReason
	answer packet.MAC // of whom; for ANSWER_ARP
}

func (d *datapath) expectARP(t *testing.T, rows []arpRow) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			asker := d.endpoints[1]
			p := packet.ARPRequest(asker.mac, asker.addr, d.endpoints[2].addr)
			if row.packet != nil {
				row.packet(p)
			}
			frame := p.Bytes()
			want := expectation{reason: row.want}
			if row.want == bpf.DatapathReasonANSWER_ARP {
				target, _ := netip.AddrFromSlice(p.ARP.DstProtAddress)
				sender, _ := netip.AddrFromSlice(p.ARP.SourceProtAddress)
				want.frame = packet.ARPReply(row.answer, target, asker.mac, sender).Bytes()
			}
			if row.bytes != nil {
				frame = row.bytes(frame)
			}
			d.expect(t, d.fromEndpoint(1, frame), want)
		})
	}
}

func asks(target netip.Addr) func(*packet.Packet) {
	return func(p *packet.Packet) { p.ARP.DstProtAddress = target.AsSlice() }
}

func probes(target netip.Addr) func(*packet.Packet) {
	return func(p *packet.Packet) {
		p.ARP.DstProtAddress, p.ARP.SourceProtAddress = target.AsSlice(), make([]byte, 4)
	}
}

func TestARPAnswers(t *testing.T) {
	d := load(t, options{})
	own, other := d.endpoints[1], d.endpoints[2]
	const answer = bpf.DatapathReasonANSWER_ARP
	d.expectARP(t, []arpRow{
		{name: "another endpoint", want: answer, answer: other.mac},
		{name: "gateway", packet: asks(gatewayAddr), want: answer, answer: gatewayMAC},
		{name: "probe for another's", packet: probes(other.addr), want: answer, answer: other.mac},
		{name: "probe for the gateway's", packet: probes(gatewayAddr), want: answer, answer: gatewayMAC},
		{name: "unicast to the owner", want: answer, answer: other.mac,
			packet: func(p *packet.Packet) { p.Ethernet.DstMAC = other.mac[:] }},
		{name: "unicast to the gateway", want: answer, answer: gatewayMAC, packet: func(p *packet.Packet) {
			p.Ethernet.DstMAC, p.ARP.DstProtAddress = gatewayMAC[:], gatewayAddr.AsSlice()
		}},
		{name: "target MAC filled in", want: answer, answer: other.mac,
			packet: func(p *packet.Packet) { p.ARP.DstHwAddress = packet.Broadcast[:] }},
		{name: "probe for its own", packet: probes(own.addr), want: bpf.DatapathReasonDROP_ARP_OWN},
		{name: "announcement of its own", packet: asks(own.addr), want: bpf.DatapathReasonDROP_ARP_OWN},
		{name: "unassigned", packet: asks(netip.MustParseAddr("192.168.15.99")), want: bpf.DatapathReasonDROP_ARP_TARGET},
		{name: "network address", packet: asks(subnet.Addr()), want: bpf.DatapathReasonDROP_ARP_TARGET},
		{name: "off-link", packet: asks(remoteAddr), want: bpf.DatapathReasonDROP_ARP_TARGET},
		{name: "host's outside address", packet: asks(outsideAddr), want: bpf.DatapathReasonDROP_ARP_TARGET},
		{name: "endpoint of another network", packet: asks(d.endpoints[3].addr), want: bpf.DatapathReasonDROP_ARP_TARGET},
	})
}

func TestARPSender(t *testing.T) {
	d := load(t, options{})
	other := d.endpoints[2]
	const sender = bpf.DatapathReasonDROP_ARP_SENDER
	d.expectARP(t, []arpRow{
		{name: "sender MAC of another", want: sender,
			packet: func(p *packet.Packet) { p.ARP.SourceHwAddress = other.mac[:] }},
		{name: "sender address of another", want: sender,
			packet: func(p *packet.Packet) { p.ARP.SourceProtAddress = other.addr.AsSlice() }},
		{name: "sender address of the gateway", want: sender,
			packet: func(p *packet.Packet) { p.ARP.SourceProtAddress = gatewayAddr.AsSlice() }},
		{name: "announcement of another's", want: sender, packet: func(p *packet.Packet) {
			p.ARP.SourceProtAddress, p.ARP.DstProtAddress = other.addr.AsSlice(), other.addr.AsSlice()
		}},
		{name: "probe with a forged MAC", want: sender, packet: func(p *packet.Packet) {
			p.ARP.SourceProtAddress, p.ARP.SourceHwAddress = make([]byte, 4), other.mac[:]
		}},
		{name: "frame's source forged", want: bpf.DatapathReasonDROP_SOURCE_MAC,
			packet: func(p *packet.Packet) { p.Ethernet.SrcMAC = other.mac[:] }},
	})
}

func TestARPMalformed(t *testing.T) {
	d := load(t, options{})
	set := func(at int, value byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = value; return b }
	}
	const malformed = bpf.DatapathReasonDROP_ARP_MALFORMED
	d.expectARP(t, []arpRow{
		{name: "hardware type 6", bytes: set(15, 6), want: malformed},
		{name: "protocol type IPv6", packet: func(p *packet.Packet) { p.ARP.Protocol = layers.EthernetTypeIPv6 }, want: malformed},
		{name: "hardware length 5", bytes: set(18, 5), want: malformed},
		{name: "hardware length 8", bytes: set(18, 8), want: malformed},
		{name: "protocol length 3", bytes: set(19, 3), want: malformed},
		{name: "protocol length 16", bytes: set(19, 16), want: malformed},
		{name: "operation 0", bytes: set(21, 0), want: malformed},
		{name: "operation 3", bytes: set(21, 3), want: malformed},
		{name: "operation 257", bytes: set(20, 1), want: malformed},
		{name: "last octet missing", bytes: func(b []byte) []byte { return b[:41] }, want: malformed},
		{name: "half of it", bytes: func(b []byte) []byte { return b[:28] }, want: malformed},
		{name: "no ARP at all", bytes: func(b []byte) []byte { return b[:15] }, want: malformed},
	})
}

// TestARPPadded asks as a real device does, padded to the shortest frame; the padding comes back.
func TestARPPadded(t *testing.T) {
	d := load(t, options{})
	asker, padding := d.endpoints[1], make([]byte, 18)
	p := packet.ARPRequest(asker.mac, asker.addr, gatewayAddr)
	p.Payload = padding
	want := packet.ARPReply(gatewayMAC, gatewayAddr, asker.mac, asker.addr)
	want.Payload = padding
	d.expect(t, d.fromEndpoint(1, p.Bytes()), expectation{reason: bpf.DatapathReasonANSWER_ARP, frame: want.Bytes()})
}

func TestARPReply(t *testing.T) {
	d := load(t, options{})
	from, other := d.endpoints[1], d.endpoints[2]
	reply := func(change func(*packet.Packet)) []byte {
		p := packet.ARPReply(from.mac, from.addr, gatewayMAC, gatewayAddr)
		if change != nil {
			change(p)
		}
		return p.Bytes()
	}
	rows := []struct {
		name   string
		change func(*packet.Packet)
		want   bpf.DatapathReason
	}{
		{"to the host", nil, bpf.DatapathReasonPASS_HOST},
		{"to another endpoint", func(p *packet.Packet) { p.Ethernet.DstMAC = other.mac[:] }, bpf.DatapathReasonDROP_ARP_REPLY},
		{"to everybody", func(p *packet.Packet) { p.Ethernet.DstMAC = packet.Broadcast[:] }, bpf.DatapathReasonDROP_ARP_REPLY},
		{"with another's address", func(p *packet.Packet) { p.ARP.SourceProtAddress = other.addr.AsSlice() },
			bpf.DatapathReasonDROP_ARP_SENDER},
		{"with another's MAC", func(p *packet.Packet) { p.ARP.SourceHwAddress = other.mac[:] }, bpf.DatapathReasonDROP_ARP_SENDER},
		{"without an address", func(p *packet.Packet) { p.ARP.SourceProtAddress = make([]byte, 4) },
			bpf.DatapathReasonDROP_ARP_SENDER},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d.expect(t, d.fromEndpoint(1, reply(row.change)), expectation{reason: row.want})
		})
	}
}
