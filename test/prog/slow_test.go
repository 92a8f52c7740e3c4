// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// routedByStack is a packet of endpoint 1 as the stack sends it to the uplink.
func (d *datapath) routedByStack(proto layers.IPProtocol, port uint16) *packet.Packet {
	e := d.sent(1, port, remote(443))
	e.SourceMAC, e.DestinationMAC = d.uplinkMAC, packet.MAC{0x02, 0xee, 0, 0, 0, 1}
	return packet.New(proto, e, []byte("payload"))
}

// TestSlowPath: what the stack sends out from inside is translated by the same sessions; the stack has counted the hop.
func TestSlowPath(t *testing.T) {
	d := load(t, options{})
	for i, proto := range protocols {
		t.Run(proto.String(), func(t *testing.T) {
			for _, port := range []uint16{1000, 21000} {
				p := d.routedByStack(proto, port)
				before, frame := d.counters(t), p.Bytes()
				in := d.toUplink(1, frame)
				action, got := in.run(t)
				key := keyOf(proto, d.sent(1, port, remote(443)))
				outsidePort := be16(d.session(t, key).OutsidePort)
				p.SetSource(outside(outsidePort))
				d.compare(t, in, expectation{reason: bpf.DatapathReasonPASS_TO_UPLINK, frame: p.Bytes()},
					action, got, d.counters(t).since(before))
				d.checkBijection(t)
				if fast := d.masquerade(t, 1, proto, d.sent(1, port, remote(443)), nil); fast != outsidePort {
					t.Errorf("fast path has port %d, slow path %d", fast, outsidePort)
				}
			}
			if n := d.count(t); n != 2*(i+1) {
				t.Errorf("%d sessions, want %d", n, 2*(i+1))
			}
		})
	}
}

// TestSlowPathReply: a session that the slow path made gets its replies by the fast path.
func TestSlowPathReply(t *testing.T) {
	d := load(t, options{})
	frame := d.routedByStack(layers.IPProtocolUDP, 21000).Bytes()
	if action, _ := d.toUplink(1, frame).run(t); action != actions[bpf.Pass] {
		t.Fatalf("action %d", action)
	}
	f := flow{layers.IPProtocolUDP, d.sent(1, 21000, remote(443)), 21000}
	p := d.reply(f)
	d.expect(t, d.fromUplink(p.Bytes()),
		expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *p), to: 1})
}

// TestNothingLeaks changes one thing of a packet that the stack sends out.
func TestNothingLeaks(t *testing.T) {
	d := load(t, options{})
	from := func(a netip.Addr) func(*packet.Packet) {
		return func(p *packet.Packet) { p.IPv4.SrcIP = a.AsSlice() }
	}
	rows := []struct {
		name   string
		proto  layers.IPProtocol
		change func(*packet.Packet)
		bytes  func([]byte) []byte
		want   bpf.DatapathReason
	}{
		{name: "host's own", change: from(outsideAddr), want: bpf.DatapathReasonPASS_OWN},
		{name: "of a routed network", change: from(d.endpoints[3].addr), want: bpf.DatapathReasonPASS_OWN},
		{name: "not IP", change: func(p *packet.Packet) { p.Ethernet.EthernetType = layers.EthernetTypeMPLSUnicast },
			want: bpf.DatapathReasonPASS_OWN},
		{name: "later fragment", change: func(p *packet.Packet) { p.IPv4.FragOffset = 9 }, want: bpf.DatapathReasonDROP_FRAGMENT},
		{name: "host's own fragment", want: bpf.DatapathReasonPASS_OWN, change: func(p *packet.Packet) {
			p.IPv4.FragOffset, p.IPv4.SrcIP = 9, outsideAddr.AsSlice()
		}},
		{name: "GRE", change: func(p *packet.Packet) { p.IPv4.Protocol = layers.IPProtocolGRE }, want: bpf.DatapathReasonDROP_PROTOCOL},
		{name: "SCTP", change: func(p *packet.Packet) { p.IPv4.Protocol = layers.IPProtocolSCTP }, want: bpf.DatapathReasonDROP_PROTOCOL},
		{name: "protocol 255", change: func(p *packet.Packet) { p.IPv4.Protocol = 255 }, want: bpf.DatapathReasonDROP_PROTOCOL},
		{name: "ICMP that is neither query nor error", proto: layers.IPProtocolICMPv4, want: bpf.DatapathReasonDROP_ICMP,
			change: func(p *packet.Packet) {
				p.ICMP.TypeCode = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeRouterSolicitation, 0)
			}},
		{name: "host's own, malformed", change: from(outsideAddr), bytes: set(0, 0x44), want: bpf.DatapathReasonPASS_OWN},
		{name: "unassigned inside address", change: from(netip.MustParseAddr("192.168.15.99")),
			want: bpf.DatapathReasonDROP_NO_ENDPOINT},
		{name: "malformed", bytes: set(0, 0x44), want: bpf.DatapathReasonDROP_MALFORMED},
		{name: "truncated transport", want: bpf.DatapathReasonDROP_TRANSPORT,
			bytes: func(b []byte) []byte { b[17] = 24; return b[:14+24] }},
		{name: "uplink is gone", want: bpf.DatapathReasonDROP_NO_UPLINK,
			bytes: func(b []byte) []byte {
				if err := d.FoUplinks.Delete(bpf.DatapathUplinkKey{Ifindex: d.uplink}); err != nil {
					t.Fatal(err)
				}
				return b
			}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if row.proto == 0 {
				row.proto = layers.IPProtocolUDP
			}
			p := d.routedByStack(row.proto, 21000)
			if row.change != nil {
				row.change(p)
			}
			frame := p.Bytes()
			if row.bytes != nil {
				frame = row.bytes(frame)
			}
			d.expect(t, d.toUplink(1, frame), expectation{reason: row.want})
			if n := d.count(t); n != 0 {
				t.Errorf("%d sessions, want none", n)
			}
		})
	}
}

// TestSlowPathOptions: IPv4 options are no obstacle to translation, only to the fast path.
func TestSlowPathOptions(t *testing.T) {
	d := load(t, options{})
	for _, proto := range protocols {
		t.Run(proto.String(), func(t *testing.T) {
			p := d.routedByStack(proto, 21000)
			p.IPv4.Options = routerAlert
			in := d.toUplink(1, p.Bytes())
			p.SetSource(outside(21000))
			d.expect(t, in, expectation{reason: bpf.DatapathReasonPASS_TO_UPLINK, frame: p.Bytes()})
		})
	}
}

// Another interface that the host forwards for cannot speak for an endpoint.
func TestSlowPathFromElsewhere(t *testing.T) {
	d := load(t, options{})
	in := d.toUplink(1, d.routedByStack(layers.IPProtocolUDP, 21000).Bytes())
	in.context.IngressIfindex = d.uplink
	d.expect(t, in, expectation{reason: bpf.DatapathReasonDROP_SOURCE_IPV4})
	if n := d.count(t); n != 0 {
		t.Errorf("%d sessions, want none", n)
	}
}
