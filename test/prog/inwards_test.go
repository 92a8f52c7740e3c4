// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// flow is a session of endpoint 1 and what belongs to its replies.
type flow struct {
	proto layers.IPProtocol
	out   packet.Ends
	port  uint16 // outside
}

func (d *datapath) open(t testing.TB, proto layers.IPProtocol, inside uint16) flow {
	t.Helper()
	e := d.sent(1, inside, remote(443))
	return flow{proto, e, d.masquerade(t, 1, proto, e, nil)}
}

func (f flow) key() sessionKey { return keyOf(f.proto, f.out) }

// reply is what the remote sends back, as it arrives.
func (d *datapath) reply(f flow) *packet.Packet {
	e := d.arrived(f.out.Destination, f.port)
	if f.proto == layers.IPProtocolICMPv4 {
		e.Source = netip.AddrPortFrom(e.Source.Addr(), f.port)
		p := packet.New(f.proto, e, []byte("reply"))
		p.ICMP.TypeCode = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0)
		return p
	}
	p := packet.New(f.proto, e, []byte("reply"))
	if p.TCP != nil { // what the inside expects
		p.TCP.Seq, p.TCP.Ack = packet.Ack, packet.Seq
	}
	return p
}

// quiet is a reply that moves no TCP state.
func (d *datapath) quiet(f flow) *packet.Packet {
	p := d.reply(f)
	if p.TCP != nil {
		p.TCP.Seq += 1 << 30
	}
	return p
}

// translatedBack is how the arrived p must reach endpoint 1.
func (d *datapath) translatedBack(f flow, p packet.Packet) []byte {
	ip := *p.IPv4
	p.IPv4 = &ip
	p.SetDestination(f.out.Source)
	p.IPv4.TTL--
	p.Ethernet.SrcMAC, p.Ethernet.DstMAC = gatewayMAC[:], d.endpoints[1].mac[:]
	return p.Bytes()
}

// TestReply: the reply of a session gets back to the endpoint, translated, with the network's MAC addresses.
func TestReply(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto.String(), func(t *testing.T) {
			d := load(t, options{})
			for _, inside := range []uint16{1000, 21000} {
				f := d.open(t, proto, inside)
				p := d.reply(f)
				if proto == layers.IPProtocolUDP && inside == 1000 {
					p.NoChecksum = true
				}
				frame := p.Bytes()
				d.expect(t, d.fromUplink(frame),
					expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *p), to: 1})
			}
			d.checkBijection(t)
		})
	}
}

// TestUnsolicited changes one thing of a reply; it is no session's then, and the host's own business.
func TestUnsolicited(t *testing.T) {
	d := load(t, options{})
	rows := []struct {
		name   string
		change func(*packet.Packet)
		want   bpf.DatapathReason
	}{
		{"another remote address", func(p *packet.Packet) { p.IPv4.SrcIP = nextHop.AsSlice() }, bpf.DatapathReasonPASS_NO_SESSION},
		{"another remote port", func(p *packet.Packet) { p.UDP.SrcPort++ }, bpf.DatapathReasonPASS_NO_SESSION},
		{"another outside port", func(p *packet.Packet) { p.UDP.DstPort++ }, bpf.DatapathReasonPASS_NO_SESSION},
		{"another outside address", func(p *packet.Packet) { p.IPv4.DstIP = nextHop.AsSlice() }, bpf.DatapathReasonPASS_NO_SESSION},
		{"inside address", func(p *packet.Packet) { p.IPv4.DstIP = d.endpoints[1].addr.AsSlice() }, bpf.DatapathReasonDROP_UNSOLICITED},
		{"inside source", func(p *packet.Packet) { p.IPv4.SrcIP = d.endpoints[2].addr.AsSlice() }, bpf.DatapathReasonDROP_SOURCE_IPV4},
		{"inside source, fragment", func(p *packet.Packet) {
			p.IPv4.SrcIP, p.IPv4.FragOffset = d.endpoints[2].addr.AsSlice(), 3
		}, bpf.DatapathReasonDROP_SOURCE_IPV4},
		{"another protocol", func(p *packet.Packet) { p.IPv4.Protocol = layers.IPProtocolTCP }, bpf.DatapathReasonPASS_NO_SESSION},
		{"protocol without ports", func(p *packet.Packet) { p.IPv4.Protocol = layers.IPProtocolGRE }, bpf.DatapathReasonPASS_NO_SESSION},
		{"not IP", func(p *packet.Packet) { p.Ethernet.EthernetType = layers.EthernetTypeMPLSUnicast }, bpf.DatapathReasonPASS_NO_SESSION},
		{"another's MAC", func(p *packet.Packet) { p.Ethernet.DstMAC = gatewayMAC[:] }, bpf.DatapathReasonPASS_NO_SESSION},
		{"broadcast", func(p *packet.Packet) { p.Ethernet.DstMAC = packet.Broadcast[:] }, bpf.DatapathReasonPASS_NO_SESSION},
		{"fragment to the inside", func(p *packet.Packet) {
			p.IPv4.FragOffset, p.IPv4.DstIP = 3, d.endpoints[1].addr.AsSlice()
		}, bpf.DatapathReasonDROP_UNSOLICITED},
		{"protocol without ports to the inside", func(p *packet.Packet) {
			p.IPv4.Protocol, p.IPv4.DstIP = layers.IPProtocolGRE, d.endpoints[1].addr.AsSlice()
		}, bpf.DatapathReasonDROP_UNSOLICITED},
	}
	f := d.open(t, layers.IPProtocolUDP, 1000)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := d.reply(f)
			row.change(p)
			if p.IPv4.Protocol != layers.IPProtocolUDP {
				p.Payload = make([]byte, 40)
			}
			d.expect(t, d.fromUplink(p.Bytes()), expectation{reason: row.want})
		})
	}
}

// TestReplyToTheStack: what the stack has to answer or to fragment, it gets translated, and counts the hop itself.
func TestReplyToTheStack(t *testing.T) {
	d := load(t, options{})
	f := d.open(t, layers.IPProtocolUDP, 1000)
	rows := []struct {
		name   string
		change func(*packet.Packet)
		want   bpf.DatapathReason
	}{
		{"TTL 1", func(p *packet.Packet) { p.IPv4.TTL = 1 }, bpf.DatapathReasonPASS_TTL},
		{"TTL 0", func(p *packet.Packet) { p.IPv4.TTL = 0 }, bpf.DatapathReasonPASS_TTL},
		{"too big", func(p *packet.Packet) { p.Payload = make([]byte, mtu-28+1) }, bpf.DatapathReasonPASS_MTU},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := d.reply(f)
			row.change(p)
			in := d.fromUplink(p.Bytes())
			p.SetDestination(f.out.Source)
			d.expect(t, in, expectation{reason: row.want, frame: p.Bytes()})
		})
	}
}

// TestReplyExpired: a session whose endpoint has been silent for its time takes no reply; replies do not keep it alive.
func TestReplyExpired(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto.String(), func(t *testing.T) {
			d := load(t, options{})
			f := d.open(t, proto, 1000)
			p := d.quiet(f)
			timeout := timeoutOf(uint8(proto), d.session(t, f.key()).Life.State)
			d.age(t, f.key(), timeout-5)
			d.expect(t, d.fromUplink(p.Bytes()),
				expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *p), to: 1})
			d.age(t, f.key(), 6)
			d.expect(t, d.fromUplink(d.quiet(f).Bytes()), expectation{reason: bpf.DatapathReasonPASS_NO_SESSION})
		})
	}
}

// TestReplyOwner: a session does not outlive its endpoint, and does not go along with the address to another one.
func TestReplyOwner(t *testing.T) {
	d := load(t, options{})
	f := d.open(t, layers.IPProtocolTCP, 1000)
	gone := expectation{reason: bpf.DatapathReasonDROP_NO_ENDPOINT}
	key := bpf.DatapathEndpointKey{Ifindex: d.endpoints[1].ifindex}
	frame := d.reply(f).Bytes()

	other := d.endpoints[1]
	other.addr = netip.MustParseAddr("192.168.15.77")
	put(t, d.FoEndpoints, key, bpf.DatapathEndpointEntry{Id: 1, Network: masqueraded, Addr4: other.addr.As4(), Mac: other.mac})
	d.expect(t, d.fromUplink(frame), gone)

	put(t, d.FoEndpoints, bpf.DatapathEndpointKey{Ifindex: d.endpoints[2].ifindex},
		bpf.DatapathEndpointEntry{Id: 2, Network: masqueraded, Addr4: d.endpoints[1].addr.As4(), Mac: d.endpoints[2].mac})
	d.expect(t, d.fromUplink(frame), gone)

	if err := d.FoEndpoints.Delete(key); err != nil {
		t.Fatal(err)
	}
	d.expect(t, d.fromUplink(frame), gone)

	d.fillEndpoint(t, 1)
	d.expect(t, d.fromUplink(frame),
		expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *d.reply(f)), to: 1})
}

// TestReplyPortZero: a session to port 0 of a remote is one tuple like any other. It lets nothing else of that remote in, and gets
// nobody else's replies.
func TestReplyPortZero(t *testing.T) {
	for _, proto := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP} {
		t.Run(proto.String(), func(t *testing.T) {
			d := load(t, options{})
			const port = defaultFirst + 7
			d.masquerade(t, 2, proto, d.sent(2, port, remote(0)), nil)
			stranger := packet.New(proto, d.arrived(remote(53), port), nil)
			if stranger.TCP != nil {
				stranger.TCP.SYN, stranger.TCP.ACK = false, true
			}
			d.expect(t, d.fromUplink(stranger.Bytes()), expectation{reason: bpf.DatapathReasonPASS_NO_SESSION})
			f := flow{proto, d.sent(1, port, remote(53)), 0}
			f.port = d.masquerade(t, 1, proto, f.out, nil)
			if f.port != port {
				t.Fatalf("port %d, want %d: it is free towards port 53", f.port, port)
			}
			p := d.reply(f)
			d.expect(t, d.fromUplink(p.Bytes()),
				expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *p), to: 1})
		})
	}
}
