// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// What one network, endpoint or remote does is no business of others.

// masqueradeOther makes endpoint 3's network masqueraded, too.
func (d *datapath) masqueradeOther(t testing.TB, m mapping, ports [2]uint16) {
	t.Helper()
	put(t, d.FoNetworks, uint32(routed), bpf.DatapathNetworkEntry{
		Gateway4: routedGateway.As4(), Subnet4: routedSubnet.Addr().As4(), Mask4: maskOf(routedSubnet),
		Bridge: d.bridge, Mtu: mtu, Flags: m.network(), GatewayMac: gatewayMAC, PortFirst: ports[0], PortLast: ports[1],
	})
	put(t, d.FoUplinks, bpf.DatapathUplinkKey{Ifindex: d.uplink}, bpf.DatapathUplinkEntry{
		Source4: outsideAddr.As4(), Mtu: mtu, PortFirst: d.ports[0], PortLast: ports[1],
		Lookups: d.mapping.uplink() | m.uplink(),
	})
}

// TestExhaustedAlone: a network whose ports are all taken does not have those of another refused.
func TestExhaustedAlone(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		d := load(t, options{Mapping: m, Ports: [2]uint16{40000, 40003}})
		d.masqueradeOther(t, m, [2]uint16{50000, 50999})
		d.fillRange(t, layers.IPProtocolUDP)
		d.refuse(t, 1, bpf.DatapathReasonDROP_NO_PORT, packet.New(layers.IPProtocolUDP, d.sent(1, 9, remote(443)), nil).Bytes())
		for i := range uint16(3) {
			d.masquerade(t, 3, layers.IPProtocolUDP, d.sent(3, 700+i, remote(443)), nil)
		}
		d.checkBijection(t)
	})
}

// TestFilterAlone: a network's filter stays closed although that of another on the same ports is open.
func TestFilterAlone(t *testing.T) {
	for _, proto := range []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolTCP} {
		t.Run(proto.String(), func(t *testing.T) {
			d := load(t, options{Mapping: independent})
			d.masqueradeOther(t, openFilter, d.ports)
			f := d.open(t, proto, 21000)
			p := packet.New(proto, d.arrived(netip.MustParseAddrPort("203.0.113.66:6666"), f.port), []byte("x"))
			reason := bpf.DatapathReasonPASS_NO_SESSION
			if p.TCP != nil {
				p.TCP.SYN, p.TCP.ACK, p.TCP.Ack = true, false, 0
				reason = bpf.DatapathReasonDROP_UNSOLICITED
			}
			d.expect(t, d.fromUplink(p.Bytes()), expectation{reason: reason})
		})
	}
}

// TestFilterOpened: the network's filter is opened while an inside port has a mapping: any remote may send to that from its next session on,
// although others hold the mapping as it was.
func TestFilterOpened(t *testing.T) {
	d := load(t, options{Mapping: independent})
	held := flow{layers.IPProtocolUDP, d.sent(1, 21000, remote(443)), 0}
	held.port = d.masquerade(t, 1, held.proto, held.out, nil)
	d.mapping = openFilter
	d.fillTranslation(t)
	next := flow{layers.IPProtocolUDP, d.sent(1, 21000, remote(444)), held.port}
	if got := d.masquerade(t, 1, next.proto, next.out, nil); got != held.port {
		t.Errorf("outside port %d, had %d", got, held.port)
	}
	d.checkBijection(t)
	next.out.Destination = netip.MustParseAddrPort("203.0.113.66:6666")
	p := d.reply(next)
	d.expect(t, d.fromUplink(p.Bytes()), expectation{
		reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(next, *p), to: 1})
	d.end(t, netip.Addr{})
	d.checkBijection(t)
}

// TestOwnersByTurns: packets from outside to a tuple and to a mapping reach the inside, whichever came before. What a program looks for first is
// what it found last.
func TestOwnersByTurns(t *testing.T) {
	for _, proto := range []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolTCP} {
		t.Run(proto.String(), func(t *testing.T) {
			d := load(t, options{Mapping: independent})
			mapped := d.open(t, proto, 21000)
			d.mapping = dependent
			d.fillTranslation(t)
			tuple := d.open(t, proto, 22000)
			for i, f := range []flow{tuple, tuple, mapped, mapped, tuple, mapped, tuple, tuple} {
				p := d.reply(f)
				d.expect(t, d.fromUplink(p.Bytes()), expectation{
					reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *p), to: 1})
				if t.Failed() {
					t.Fatalf("at packet %d", i)
				}
			}
		})
	}
}

// TestOwnAddressFromOutside: a hairpinned flow lets our own address in, and nobody outside who says that it is his.
func TestOwnAddressFromOutside(t *testing.T) {
	d := load(t, options{Mapping: independent})
	f := d.open(t, layers.IPProtocolUDP, 21000)
	port := d.masquerade(t, 2, layers.IPProtocolUDP, d.sent(2, 22000, remote(443)), nil)
	d.fromEndpoint(1, packet.New(layers.IPProtocolUDP, d.sent(1, 21000, outside(port)), nil).Bytes()).run(t)
	p := packet.New(layers.IPProtocolUDP, d.arrived(outside(9), f.port), []byte("x"))
	d.expect(t, d.fromUplink(p.Bytes()), expectation{reason: bpf.DatapathReasonDROP_MARTIAN})
}

// TestResetMakesNoSession: what a mapping lets in and the endpoint refuses neither takes sessions nor keeps the mapping (RFC 7857 section
// 7.1): else a remote could use up the endpoint's limit.
func TestResetMakesNoSession(t *testing.T) {
	for _, m := range []mapping{independent, openFilter} {
		t.Run(m.String(), func(t *testing.T) {
			d := load(t, options{Mapping: m})
			f := d.open(t, layers.IPProtocolTCP, 21000)
			d.age(t, f.key(), 100)
			was := d.session(t, f.key())
			for n := range uint16(5) {
				syn := packet.New(layers.IPProtocolTCP, d.arrived(remote(2000+n), f.port), nil)
				withFlags("SYN", true)(syn)
				d.expect(t, d.fromUplink(syn.Bytes()), expectation{
					reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *syn), to: 1})
				rst := packet.New(layers.IPProtocolTCP, d.sent(1, 21000, remote(2000+n)), nil)
				withFlags("RST ACK", false)(rst)
				d.expect(t, d.fromEndpoint(1, rst.Bytes()), expectation{reason: bpf.DatapathReasonDROP_RESET})
			}
			if n := d.count(t); n != 1 || d.session(t, f.key()) != was {
				t.Errorf("%d sessions, want 1; the first one is %+v, was %+v", n, d.session(t, f.key()), was)
			}
			d.checkBijection(t)
		})
	}
}

// TestClosedPortKept: the port of a connection that has closed is its own for its last seconds, as long as there are others.
func TestClosedPortKept(t *testing.T) {
	d := load(t, options{})
	f := flow{proto: layers.IPProtocolTCP, out: d.sent(1, 21000, remote(443))}
	d.takeAll(t, &f, append(append([]step{}, handshake...), step{"in", "RST", closed}))
	if got := d.masquerade(t, 2, layers.IPProtocolTCP, d.sent(2, 21000, remote(443)), nil); got == f.port {
		t.Errorf("another endpoint has port %d towards the same remote", got)
	}
	d.checkBijection(t)
}
