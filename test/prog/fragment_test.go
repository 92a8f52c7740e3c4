// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// fragmentSize is the payload of each fragment but the last.
const fragmentSize = 1480

// fragments cuts the frame of one datagram, whose header has no options.
func fragments(frame []byte) [][]byte {
	header, payload := frame[:34], frame[34:]
	var all [][]byte
	for offset := 0; offset < len(payload); offset += fragmentSize {
		end := min(offset+fragmentSize, len(payload))
		f := append(append([]byte{}, header...), payload[offset:end]...)
		binary.BigEndian.PutUint16(f[16:], uint16(20+end-offset))
		flags := uint16(offset / 8)
		if end < len(payload) {
			flags |= 0x2000
		}
		binary.BigEndian.PutUint16(f[20:], flags)
		binary.BigEndian.PutUint16(f[24:], 0)
		binary.BigEndian.PutUint16(f[24:], checksum(f[14:34]))
		all = append(all, f)
	}
	return all
}

func payload(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 7 >> 3)
	}
	return p
}

// identification of a frame.
func identification(frame []byte) uint16 { return binary.BigEndian.Uint16(frame[18:]) }

// sendFragments sends the fragments of p from endpoint id and compares them with those of the translated datagram, whose
// identification they share; it is returned.
func (d *datapath) sendFragments(t *testing.T, id int, proto layers.IPProtocol, e packet.Ends, p *packet.Packet) uint16 {
	t.Helper()
	var got [][]byte
	for _, f := range fragments(p.Bytes()) {
		action, frame := d.fromEndpoint(id, f).run(t)
		if action != actions[bpf.Forward] {
			t.Fatalf("action %d, want the fragment forwarded", action)
		}
		got = append(got, frame)
	}
	p.SetSource(outside(be16(d.session(t, keyOf(proto, e)).OutsidePort)))
	p.IPv4.TTL--
	p.IPv4.Id = identification(got[0])
	for i, want := range fragments(p.Bytes()) {
		if diff := packet.Diff(want, got[i]); diff != "" {
			t.Errorf("fragment %d (-want +got):\n%s", i, diff)
		}
	}
	return p.IPv4.Id
}

// TestFragmentsOut: the fragments of a datagram leave with the port of the whole ones, and those of two endpoints that gave theirs
// the same identification do not meet (RFC 6864 section 5.3.1).
func TestFragmentsOut(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		for _, proto := range []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolICMPv4} {
			d := load(t, options{Mapping: m})
			ids := map[uint16]bool{}
			for _, size := range []int{1500, 9000, 65507} {
				for id := 1; id <= 2; id++ {
					e := d.sent(id, 1000, remote(443))
					port := d.masquerade(t, id, proto, e, nil)
					ids[d.sendFragments(t, id, proto, e, packet.New(proto, e, payload(size)))] = true
					if again := be16(d.session(t, keyOf(proto, e)).OutsidePort); again != port {
						t.Errorf("port %d, whole ones have %d", again, port)
					}
				}
			}
			if len(ids) != 6 {
				t.Errorf("%v: %d identifications for 6 datagrams", proto, len(ids))
			}
			d.checkBijection(t)
		}
	})
}

// TestFragmentsIn: the fragments of a reply reach the endpoint.
func TestFragmentsIn(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		for _, proto := range []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolICMPv4} {
			d := load(t, options{Mapping: m})
			f := d.open(t, proto, 1000)
			p := d.reply(f)
			p.Payload = payload(65507)
			arrived := fragments(p.Bytes())
			for i, want := range fragments(d.translatedBack(f, *p)) {
				d.expect(t, d.fromUplink(arrived[i]), expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: want, to: 1})
			}
		}
	})
}

// held are the frames that wait for the first fragment of their datagram.
func (d *datapath) held(t *testing.T) [][]byte {
	t.Helper()
	var frames [][]byte
	for _, h := range entries[uint32, bpf.DatapathHeldEntry](t, d.FoHeld) {
		if h.State == bpf.DatapathHeldStateHELD_FULL {
			frames = append(frames, h.Frame[:h.Bytes])
		}
	}
	return frames
}

// hold sends the frame, which is to be kept as it is and counted by nobody.
func (d *datapath) hold(t *testing.T, in injection) {
	t.Helper()
	before := d.counters(t)
	action, _ := in.run(t)
	if got := d.counters(t).since(before); action != actions[bpf.Drop] || len(got) != 0 {
		t.Errorf("action %d, counters %v, want the fragment held", action, got)
	}
	found := false
	for _, frame := range d.held(t) {
		found = found || bytes.Equal(frame, in.frame)
	}
	if !found {
		t.Error("the fragment is not held as it came")
	}
}

// TestFragmentsHeld: what comes before its turn waits for it, and is sent through the program again then, one after the other.
func TestFragmentsHeld(t *testing.T) {
	d := load(t, options{Mapping: independent})
	f := d.open(t, layers.IPProtocolUDP, 1000)
	out := packet.New(f.proto, f.out, payload(65507))
	in := d.reply(f)
	in.Payload = payload(65507)
	sent, arrived := fragments(out.Bytes()), fragments(in.Bytes())
	for i := len(sent) - 1; i > 0; i-- {
		d.hold(t, d.fromEndpoint(1, sent[i]))
		d.hold(t, d.fromUplink(arrived[i]))
	}
	inside := fragments(d.translatedBack(f, *in))
	for i := range sent {
		action, frame := d.fromEndpoint(1, sent[i]).run(t)
		if i == 0 {
			out.SetSource(outside(f.port))
			out.IPv4.TTL--
			out.IPv4.Id = identification(frame)
		}
		if diff := packet.Diff(fragments(out.Bytes())[i], frame); diff != "" || action != actions[bpf.Forward] {
			t.Errorf("fragment %d out: action %d, frame (-want +got):\n%s", i, action, diff)
		}
		d.expect(t, d.fromUplink(arrived[i]), expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: inside[i], to: 1})
		if n, want := len(d.held(t)), 2*max(0, len(sent)-2-i); n != want {
			t.Errorf("%d fragments held after the one whose turn was %d, want %d", n, i, want)
		}
	}
}

// TestFragmentsOverlap: octets that have passed do not pass again, nor does anything of their datagram after them.
func TestFragmentsOverlap(t *testing.T) {
	d := load(t, options{Mapping: independent})
	sent := fragments(packet.New(layers.IPProtocolUDP, d.sent(1, 1000, remote(443)), payload(6000)).Bytes())
	for _, f := range sent[:3] {
		if action, _ := d.fromEndpoint(1, f).run(t); action != actions[bpf.Forward] {
			t.Fatalf("action %d, want the fragment forwarded", action)
		}
	}
	binary.BigEndian.PutUint16(sent[1][20:], binary.BigEndian.Uint16(sent[1][20:])+1)
	refused := expectation{reason: bpf.DatapathReasonDROP_FRAGMENT}
	d.expect(t, d.fromEndpoint(1, summed(sent[1])), refused)
	d.expect(t, d.fromEndpoint(1, sent[3]), refused)
}

// TestFragmentsRefused: the fragments of a datagram share the fate of the first.
func TestFragmentsRefused(t *testing.T) {
	d := load(t, options{Ports: [2]uint16{40000, 40000}})
	d.open(t, layers.IPProtocolUDP, 1000)
	sent := fragments(packet.New(layers.IPProtocolUDP, d.sent(1, 9, remote(443)), payload(3000)).Bytes())
	if action, _ := d.fromEndpoint(1, sent[0]).run(t); action != actions[bpf.Drop] {
		t.Errorf("action %d, want the first fragment refused", action)
	}
	d.expect(t, d.fromEndpoint(1, sent[1]), expectation{reason: bpf.DatapathReasonDROP_FRAGMENT})
}

// TestFragmentsOfHost: a datagram from outside that is no session's is the host's, first and later fragments.
func TestFragmentsOfHost(t *testing.T) {
	d := load(t, options{Mapping: independent})
	e := d.arrived(remote(443), 53)
	arrived := fragments(packet.New(layers.IPProtocolUDP, e, payload(4000)).Bytes())
	d.hold(t, d.fromUplink(arrived[2]))
	d.expect(t, d.fromUplink(arrived[0]), expectation{reason: bpf.DatapathReasonPASS_FRAGMENT})
	d.expect(t, d.fromUplink(arrived[1]), expectation{reason: bpf.DatapathReasonPASS_FRAGMENT})
	d.expect(t, d.fromUplink(arrived[2]), expectation{reason: bpf.DatapathReasonPASS_FRAGMENT})
	if n := len(d.held(t)); n != 0 {
		t.Errorf("%d fragments are still held", n)
	}
}

// TestFragmentsTiny: a first fragment without the ports, and a later one that would write over TCP's flags (RFC 1858, RFC 3128).
func TestFragmentsTiny(t *testing.T) {
	d := load(t, options{Mapping: independent})
	p := packet.New(layers.IPProtocolTCP, d.sent(1, 1000, remote(443)), payload(16))
	p.IPv4.Flags = layers.IPv4MoreFragments
	first := p.Bytes()[:14+20+8]
	binary.BigEndian.PutUint16(first[16:], 28)
	binary.BigEndian.PutUint16(first[24:], 0)
	binary.BigEndian.PutUint16(first[24:], checksum(first[14:34]))
	d.expect(t, d.fromEndpoint(1, first), expectation{reason: bpf.DatapathReasonDROP_TRANSPORT})
	p.IPv4.Flags, p.IPv4.FragOffset = 0, 1
	d.expect(t, d.fromEndpoint(1, p.Bytes()), expectation{reason: bpf.DatapathReasonDROP_FRAGMENT})
}

// TestFragmentFlood: datagrams that never get their first fragment take no more memory than there is, and the newest is held.
func TestFragmentFlood(t *testing.T) {
	d := load(t, options{Mapping: independent})
	frame := fragments(packet.New(layers.IPProtocolUDP, d.sent(1, 1000, remote(443)), payload(3000)).Bytes())[1]
	for n := range 20000 {
		binary.BigEndian.PutUint16(frame[18:], uint16(n))
		binary.BigEndian.PutUint16(frame[24:], 0)
		binary.BigEndian.PutUint16(frame[24:], checksum(frame[14:34]))
		action, _ := d.fromEndpoint(1, frame).run(t)
		if action != actions[bpf.Drop] {
			t.Fatalf("action %d", action)
		}
	}
	found := false
	for _, held := range d.held(t) {
		found = found || bytes.Equal(held, frame)
	}
	if !found {
		t.Error("the last fragment is not held")
	}
	lost := d.counters(t)["from_endpoint DROP_FRAGMENT"].Packets
	if held := len(d.held(t)); uint64(held)+lost != 20000 {
		t.Errorf("%d held and %d lost, want 20000 in all", held, lost)
	}
	p := packet.New(layers.IPProtocolUDP, d.sent(2, 1000, remote(443)), payload(9000))
	d.sendFragments(t, 2, layers.IPProtocolUDP, d.sent(2, 1000, remote(443)), p)
}
