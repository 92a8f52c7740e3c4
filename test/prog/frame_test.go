// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// TestFrames sends one frame of endpoint 1 to each kind of MAC address.
func TestFrames(t *testing.T) {
	d := load(t, options{})
	rows := []struct {
		name string
		to   packet.MAC
		want expectation
	}{
		{"endpoint", d.endpoints[2].mac, expectation{reason: bpf.DatapathReasonFORWARD_ENDPOINT, to: 2}},
		{"unknown", packet.MAC{2, 9, 9, 9, 9, 9}, expectation{reason: bpf.DatapathReasonDROP_UNKNOWN_MAC}},
		{"endpoint of another network", d.endpoints[3].mac, expectation{reason: bpf.DatapathReasonDROP_UNKNOWN_MAC}},
		{"its own", d.endpoints[1].mac, expectation{reason: bpf.DatapathReasonDROP_UNKNOWN_MAC}},
		{"broadcast", packet.Broadcast, expectation{reason: bpf.DatapathReasonPASS_BROADCAST}},
		{"IPv4 multicast", packet.MAC{1, 0, 0x5e, 0, 0, 1}, expectation{reason: bpf.DatapathReasonPASS_BROADCAST}},
		{"spanning tree", packet.MAC{1, 0x80, 0xc2, 0, 0, 0}, expectation{reason: bpf.DatapathReasonDROP_RESERVED}},
		{"LLDP", packet.MAC{1, 0x80, 0xc2, 0, 0, 0x0e}, expectation{reason: bpf.DatapathReasonDROP_RESERVED}},
		{"last reserved", packet.MAC{1, 0x80, 0xc2, 0, 0, 0x0f}, expectation{reason: bpf.DatapathReasonDROP_RESERVED}},
		{"first behind", packet.MAC{1, 0x80, 0xc2, 0, 0, 0x10}, expectation{reason: bpf.DatapathReasonPASS_BROADCAST}},
		{"fifth octet", packet.MAC{1, 0x80, 0xc2, 0, 1, 0}, expectation{reason: bpf.DatapathReasonPASS_BROADCAST}},
		{"fourth octet", packet.MAC{1, 0x80, 0xc2, 1, 0, 0}, expectation{reason: bpf.DatapathReasonPASS_BROADCAST}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := d.neighbourly(layers.IPProtocolTCP, []byte("payload"))
			p.Ethernet.DstMAC = row.to[:]
			d.expect(t, d.fromEndpoint(1, p.Bytes()), row.want)
		})
	}
}

// TestFrameContent: on one network all that the source guard lets pass is forwarded as it is, the fast path is a bridge.
func TestFrameContent(t *testing.T) {
	d := load(t, options{})
	rows := []struct {
		name   string
		change func(*packet.Packet)
	}{
		{"TTL 0", func(p *packet.Packet) { p.IPv4.TTL = 0 }},
		{"TTL 1", func(p *packet.Packet) { p.IPv4.TTL = 1 }},
		{"options", func(p *packet.Packet) { p.IPv4.Options = routerAlert }},
		{"first fragment", func(p *packet.Packet) { p.IPv4.Flags = layers.IPv4MoreFragments }},
		{"later fragment", func(p *packet.Packet) { p.IPv4.FragOffset = 100 }},
		{"protocol without ports", func(p *packet.Packet) { p.IPv4.Protocol = layers.IPProtocolGRE }},
		{"destination off-link", func(p *packet.Packet) { p.IPv4.DstIP = remoteAddr.AsSlice() }},
		{"largest", func(p *packet.Packet) { p.Payload = make([]byte, mtu-20-8) }},
		{"no IP", func(p *packet.Packet) { p.Ethernet.EthernetType = layers.EthernetTypeMPLSUnicast }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := d.neighbourly(layers.IPProtocolUDP, []byte("payload"))
			row.change(p)
			d.expect(t, d.fromEndpoint(1, p.Bytes()), expectation{reason: bpf.DatapathReasonFORWARD_ENDPOINT, to: 2})
		})
	}
}

// TestFrameOversize: what is larger than the MTU by one octet reaches nobody.
func TestFrameOversize(t *testing.T) {
	d := load(t, options{})
	for _, to := range []packet.MAC{d.endpoints[2].mac, packet.Broadcast} {
		p := d.neighbourly(layers.IPProtocolUDP, make([]byte, mtu-20-8+1))
		p.Ethernet.DstMAC = to[:]
		d.expect(t, d.fromEndpoint(1, p.Bytes()), expectation{reason: bpf.DatapathReasonDROP_OVERSIZE})
	}
}

// TestFrameMark: a mark is the host's business and does not get into an endpoint.
func TestFrameMark(t *testing.T) {
	d := load(t, options{})
	in := d.fromEndpoint(1, d.neighbourly(layers.IPProtocolUDP, nil).Bytes())
	in.context.Mark = 0xbeef
	if got := in.contextAfter(t).Mark; got != 0 {
		t.Errorf("mark %#x, want 0", got)
	}
}
