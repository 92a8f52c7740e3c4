// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// roundTrips is how many random packets go out and back.
const roundTrips = 20000

// trip is one random packet, and what is to become of it.
type trip struct {
	proto layers.IPProtocol
	ends  packet.Ends
	out   *packet.Packet
}

// draw makes a packet to a remote that no other has; half of them can keep their port.
func (d *datapath) draw(rng *rand.Rand, n int) trip {
	to := [4]byte{20 + byte(n>>16), byte(n >> 8), byte(n), byte(rng.Uint32())}
	port := uint16(rng.Uint32())
	if rng.IntN(2) == 0 {
		port = defaultFirst + port%(defaultLast-defaultFirst+1)
	}
	tr := trip{
		proto: protocols[rng.IntN(len(protocols))],
		ends:  d.sent(1, port, netip.AddrPortFrom(netip.AddrFrom4(to), uint16(rng.Uint32()))),
	}
	payload := make([]byte, rng.IntN(64))
	if rng.IntN(16) == 0 {
		payload = make([]byte, rng.IntN(mtu-40+1))
	}
	for i := range payload {
		payload[i] = byte(rng.Uint32())
	}
	tr.out = packet.New(tr.proto, tr.ends, payload)
	tr.out.IPv4.TTL = 3 + uint8(rng.IntN(253))
	tr.out.IPv4.TOS, tr.out.IPv4.Id = uint8(rng.Uint32()), uint16(rng.Uint32())
	tr.out.NoChecksum = tr.proto == layers.IPProtocolUDP && rng.IntN(16) == 0
	return tr
}

// keepsPort says whether the packet's source port will be its outside port, as long as no other has the same remote.
func (tr trip) keepsPort() bool {
	return tr.ends.Source.Port() >= defaultFirst && tr.ends.Source.Port() <= defaultLast
}

// checksumAt is where the transport checksum of a packet without options is.
func checksumAt(proto layers.IPProtocol) int {
	return 34 + map[layers.IPProtocol]int{layers.IPProtocolTCP: 16, layers.IPProtocolUDP: 6, layers.IPProtocolICMPv4: 2}[proto]
}

// zeroSum changes the first payload word of p so that its transport checksum is computed as zero.
func zeroSum(proto layers.IPProtocol, p *packet.Packet) {
	if len(p.Payload) < 2 {
		p.Payload = make([]byte, 2)
	}
	p.Payload[0], p.Payload[1] = 0, 0
	sum := binary.BigEndian.Uint16(p.Bytes()[checksumAt(proto):])
	binary.BigEndian.PutUint16(p.Payload, sum)
}

func translatedAs(p packet.Packet, source netip.AddrPort) *packet.Packet {
	ip := *p.IPv4
	p.IPv4 = &ip
	if p.TCP != nil {
		tcp := *p.TCP
		p.TCP = &tcp
	}
	if p.UDP != nil {
		udp := *p.UDP
		p.UDP = &udp
	}
	if p.ICMP != nil {
		icmp := *p.ICMP
		p.ICMP = &icmp
	}
	p.SetSource(source)
	p.IPv4.TTL--
	return &p
}

// answer is the packet that comes back for p as the outside has seen it, from there to here, its content the same.
func (d *datapath) answer(proto layers.IPProtocol, p *packet.Packet, port uint16) *packet.Packet {
	from, _ := netip.AddrFromSlice(p.IPv4.DstIP)
	back := packet.New(proto, d.arrived(netip.AddrPortFrom(from, port), port), p.Payload)
	switch {
	case p.TCP != nil:
		back.SetSource(netip.AddrPortFrom(from, uint16(p.TCP.DstPort)))
	case p.UDP != nil:
		back.SetSource(netip.AddrPortFrom(from, uint16(p.UDP.DstPort)))
	default:
		back.ICMP.TypeCode = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0)
	}
	back.IPv4.TTL, back.NoChecksum = p.IPv4.TTL, p.NoChecksum
	return back
}

// TestRoundTrip sends random packets out and back. Both ways the result must be what a whole computation in Go gives, and what
// comes back is what was sent, from the other end, less two hops.
func TestRoundTrip(t *testing.T) {
	d := load(t, options{Sessions: 2 * roundTrips})
	rng := rand.New(rand.NewPCG(1, 2))
	special := map[layers.IPProtocol]int{}
	for n := 0; n < roundTrips && !t.Failed(); n++ {
		tr := d.draw(rng, n)
		if tr.keepsPort() && !tr.out.NoChecksum && n%8 == 0 {
			after := translatedAs(*tr.out, outside(tr.ends.Source.Port()))
			zeroSum(tr.proto, after)
			tr.out.Payload = after.Payload
			special[tr.proto]++
		}
		port := d.tripOut(t, tr)
		d.tripBack(t, tr, port, n%8 == 1)
	}
	for _, proto := range protocols {
		if special[proto] < roundTrips/100 {
			t.Errorf("%v: only %d packets with a sum of zero", proto, special[proto])
		}
	}
	d.checkBijection(t)
	if n := d.count(t); n != roundTrips {
		t.Errorf("%d sessions, want %d", n, roundTrips)
	}
}

func (d *datapath) tripOut(t *testing.T, tr trip) uint16 {
	t.Helper()
	action, got := d.fromEndpoint(1, tr.out.Bytes()).run(t)
	if action != actions[bpf.Forward] {
		t.Fatalf("%v %+v: action %d, all counters:\n%v", tr.proto, tr.ends, action, d.counters(t))
	}
	port := be16(d.session(t, keyOf(tr.proto, tr.ends)).OutsidePort)
	want := translatedAs(*tr.out, outside(port)).Bytes()
	if diff := packet.Diff(want, got); diff != "" {
		t.Errorf("%v %+v: frame (-want +got):\n%s", tr.proto, tr.ends, diff)
	}
	if tr.keepsPort() && port != tr.ends.Source.Port() {
		t.Errorf("%v %+v: port %d, want its own", tr.proto, tr.ends, port)
	}
	return port
}

// tripBack sends the answer; zero makes the checksum of what reaches the endpoint a sum of zero.
func (d *datapath) tripBack(t *testing.T, tr trip, port uint16, zero bool) {
	t.Helper()
	arrives := d.answer(tr.proto, translatedAs(*tr.out, outside(port)), port)
	f := flow{tr.proto, tr.ends, port}
	if zero && !arrives.NoChecksum {
		delivered := d.answer(tr.proto, tr.out, port)
		delivered.SetDestination(tr.ends.Source)
		zeroSum(tr.proto, delivered)
		arrives.Payload = delivered.Payload
	}
	frame := arrives.Bytes()
	action, got := d.fromUplink(frame).run(t)
	if diff := packet.Diff(d.translatedBack(f, *arrives), got); diff != "" || action != actions[bpf.Forward] {
		t.Errorf("back %v %+v: action %d, frame (-want +got):\n%s", tr.proto, tr.ends, action, diff)
	}
	if zero || tr.proto == layers.IPProtocolICMPv4 {
		return
	}
	// Swapped ends leave every checksum as it was, so the original can be had back by its octets.
	copy(got[26:], append(append([]byte{}, got[30:34]...), got[26:30]...))
	copy(got[34:], append(append([]byte{}, got[36:38]...), got[34:36]...))
	sent := tr.out.Bytes()
	if string(got[26:38]) != string(sent[26:38]) || string(got[checksumAt(tr.proto):]) != string(sent[checksumAt(tr.proto):]) {
		t.Errorf("%v %+v came back as another packet (-sent +came back):\n%s", tr.proto, tr.ends, packet.Diff(sent, got))
	}
}
