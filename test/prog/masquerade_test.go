// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// protocols are those that are translated.
var protocols = []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv4}

// keyOf is the session key of a packet that goes outwards.
func keyOf(proto layers.IPProtocol, e packet.Ends) sessionKey {
	key := sessionKey{
		Inside: e.Source.Addr().As4(), Remote: e.Destination.Addr().As4(),
		InsidePort: be16(e.Source.Port()), RemotePort: be16(e.Destination.Port()), Proto: uint8(proto),
	}
	if proto == layers.IPProtocolICMPv4 {
		key.RemotePort = 0
	}
	return key
}

func outside(port uint16) netip.AddrPort { return netip.AddrPortFrom(outsideAddr, port) }

// masquerade sends p from its endpoint, expects it to leave translated, and returns its outside port.
func (d *datapath) masquerade(t testing.TB, id int, proto layers.IPProtocol, e packet.Ends, change func(*packet.Packet)) uint16 {
	t.Helper()
	p := packet.New(proto, e, []byte("payload"))
	if change != nil {
		change(p)
	}
	in := d.fromEndpoint(id, p.Bytes())
	before := d.counters(t)
	action, frame := in.run(t)
	s := d.session(t, keyOf(proto, e))
	port := be16(s.OutsidePort)
	p.SetSource(outside(port))
	p.IPv4.TTL--
	d.compare(t, in, expectation{reason: bpf.DatapathReasonFORWARD_OUTSIDE, frame: p.Bytes()},
		action, frame, d.counters(t).since(before))
	return port
}

func TestMasqueradeNewSession(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto.String(), func(t *testing.T) {
			d := load(t, options{})
			for _, port := range []uint16{0, 1, 53, defaultFirst - 1, defaultFirst, defaultFirst + 5, defaultLast, defaultLast + 1, 65535} {
				e := d.sent(1, port, remote(443))
				got := d.masquerade(t, 1, proto, e, nil)
				if got < defaultFirst || got > defaultLast {
					t.Errorf("outside port %d of port %d is out of the range", got, port)
				}
				if port >= defaultFirst && port <= defaultLast && got != port {
					t.Errorf("outside port %d, want the source port %d, which is free", got, port)
				}
				s := d.session(t, keyOf(proto, e))
				if s.Uplink != d.uplink || s.NextHop != nextHop.As4() || s.Outside != outsideAddr.As4() {
					t.Errorf("session %+v: want uplink %d, next hop %v, outside %v", s, d.uplink, nextHop, outsideAddr)
				}
				if again := d.masquerade(t, 1, proto, e, nil); again != got {
					t.Errorf("second packet has port %d, first %d", again, got)
				}
				d.checkBijection(t)
			}
			if n := d.count(t); n != 9 {
				t.Errorf("%d sessions, want 9", n)
			}
			d.checkTokens(t)
		})
	}
}

// TestMasqueradeTuples: whatever part of the tuple differs, it is another session, and of two that want one port towards one
// remote only one gets it.
func TestMasqueradeTuples(t *testing.T) {
	d := load(t, options{})
	const port = defaultFirst + 7
	otherRemote := netip.MustParseAddrPort("198.51.100.8:443")
	rows := []struct {
		id       int
		to       netip.AddrPort
		proto    layers.IPProtocol
		keepsOwn bool
	}{
		{1, remote(443), layers.IPProtocolTCP, true},
		{1, remote(443), layers.IPProtocolUDP, true},
		{1, remote(443), layers.IPProtocolICMPv4, true},
		{1, remote(444), layers.IPProtocolTCP, true},
		{1, otherRemote, layers.IPProtocolTCP, true},
		{2, remote(443), layers.IPProtocolTCP, false},
		{2, remote(443), layers.IPProtocolUDP, false},
		{2, remote(1), layers.IPProtocolICMPv4, false},
		{2, remote(445), layers.IPProtocolTCP, true},
	}
	for i, row := range rows {
		got := d.masquerade(t, row.id, row.proto, d.sent(row.id, port, row.to), nil)
		if (got == port) != row.keepsOwn {
			t.Errorf("%+v got port %d, its own is %d", row, got, port)
		}
		d.checkBijection(t)
		if n := d.count(t); n != i+1 {
			t.Errorf("%d sessions after %d tuples", n, i+1)
		}
	}
}

// TestMasqueradeOnLink: a remote on the uplink's own segment is its own next hop.
func TestMasqueradeOnLink(t *testing.T) {
	d := load(t, options{})
	e := d.sent(1, 21000, netip.AddrPortFrom(nextHop.Next().Next(), 80))
	d.masquerade(t, 1, layers.IPProtocolTCP, e, nil)
	if s := d.session(t, keyOf(layers.IPProtocolTCP, e)); s.NextHop != e.Destination.Addr().As4() {
		t.Errorf("next hop %v, want %v", s.NextHop, e.Destination.Addr())
	}
}

// TestMasqueradeContent: fields that are none of ours stay, and checksums stay right around them.
func TestMasqueradeContent(t *testing.T) {
	d := load(t, options{})
	rows := []struct {
		name   string
		proto  layers.IPProtocol
		change func(*packet.Packet)
	}{
		{"UDP without checksum", layers.IPProtocolUDP, func(p *packet.Packet) { p.NoChecksum = true }},
		{"don't fragment", layers.IPProtocolUDP, func(p *packet.Packet) { p.IPv4.Flags = layers.IPv4DontFragment }},
		{"reserved flag", layers.IPProtocolUDP, func(p *packet.Packet) { p.IPv4.Flags = layers.IPv4EvilBit }},
		{"TOS", layers.IPProtocolTCP, func(p *packet.Packet) { p.IPv4.TOS = 0xbb }},
		{"TTL 2", layers.IPProtocolTCP, func(p *packet.Packet) { p.IPv4.TTL = 2 }},
		{"TTL 255", layers.IPProtocolTCP, func(p *packet.Packet) { p.IPv4.TTL = 255 }},
		{"no payload", layers.IPProtocolUDP, func(p *packet.Packet) { p.Payload = nil }},
		{"largest", layers.IPProtocolUDP, func(p *packet.Packet) { p.Payload = make([]byte, mtu-28) }},
		{"TCP options", layers.IPProtocolTCP, func(p *packet.Packet) {
			p.TCP.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}}}
		}},
		{"TCP urgent", layers.IPProtocolTCP, func(p *packet.Packet) { p.TCP.URG, p.TCP.Urgent = true, 3 }},
		{"timestamp request", layers.IPProtocolICMPv4, func(p *packet.Packet) {
			p.ICMP.TypeCode = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeTimestampRequest, 0)
		}},
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for _, port := range []uint16{1000, 21000} { // with another port, and with the same
				d.masquerade(t, 1, row.proto, d.sent(1, port, remote(uint16(i))), row.change)
			}
		})
	}
}

// TestMasqueradeNoUplink: a session does not go on without its uplink, as soon as it looks at the route again.
func TestMasqueradeNoUplink(t *testing.T) {
	d := load(t, options{})
	e := d.sent(1, 21000, remote(53))
	d.masquerade(t, 1, layers.IPProtocolUDP, e, nil)
	if err := d.FoUplinks.Delete(bpf.DatapathUplinkKey{Ifindex: d.uplink}); err != nil {
		t.Fatal(err)
	}
	d.age(t, keyOf(layers.IPProtocolUDP, e), 2)
	frame := packet.New(layers.IPProtocolUDP, e, nil).Bytes()
	d.expect(t, d.fromEndpoint(1, frame), expectation{reason: bpf.DatapathReasonDROP_ROUTE})
}

// TestMasqueradeRenumbered: the sessions of an address that the uplink has lost end, and begin anew with the next packet.
func TestMasqueradeRenumbered(t *testing.T) {
	d := load(t, options{})
	e := d.sent(1, 1000, remote(53))
	d.masquerade(t, 1, layers.IPProtocolUDP, e, nil)
	d.ports = [2]uint16{30000, 30000}
	d.fillTranslation(t)
	d.fillUplink(t, d.uplink, nextHop)
	d.age(t, keyOf(layers.IPProtocolUDP, e), 2)
	p := packet.New(layers.IPProtocolUDP, e, nil)
	in := d.fromEndpoint(1, p.Bytes())
	p.SetSource(netip.AddrPortFrom(nextHop, 30000))
	p.IPv4.TTL--
	d.expect(t, in, expectation{reason: bpf.DatapathReasonFORWARD_OUTSIDE, frame: p.Bytes()})
	d.checkBijection(t)
	d.checkTokens(t)
}

// TestMasqueradeHostSocket: a port that a socket of the host listens on is never given away.
func TestMasqueradeHostSocket(t *testing.T) {
	d := load(t, options{})
	tcp, err := net.Listen("tcp4", fmt.Sprintf("%v:0", outsideAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", fmt.Sprintf("%v:0", outsideAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for proto, addr := range map[layers.IPProtocol]net.Addr{
		layers.IPProtocolTCP: tcp.Addr(), layers.IPProtocolUDP: udp.LocalAddr(),
	} {
		taken := netip.MustParseAddrPort(addr.String()).Port()
		d.ports = [2]uint16{taken, taken + 7}
		d.fillTranslation(t)
		if got := d.masquerade(t, 1, proto, d.sent(1, taken, remote(443)), nil); got == taken {
			t.Errorf("%v: port %d is a socket's of the host", proto, got)
		}
		d.ports = [2]uint16{taken, taken}
		d.fillTranslation(t)
		frame := packet.New(proto, d.sent(1, 1, remote(443)), nil).Bytes()
		d.refuse(t, 1, bpf.DatapathReasonDROP_NO_PORT, frame)
		d.checkBijection(t)
	}
}
