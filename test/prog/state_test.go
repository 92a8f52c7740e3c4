// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// Sequence numbers of the connections below: the inside's SYN has insideISN, the outside's outsideISN.
const (
	insideISN  = packet.Seq
	outsideISN = packet.Ack
)

// withFlags sets the flags named in words, "SYN ACK", and the numbers that fit: nobody sends more than SYN. Of what the outside
// sends, "ahead" is in the inside's window but not what it expects next, "far" is behind the window, "old" before it, and "wrong"
// acknowledges what the inside has not sent.
func withFlags(words string, in bool) func(*packet.Packet) {
	return func(p *packet.Packet) {
		has := func(flag string) bool { return slices.Contains(strings.Fields(words), flag) }
		p.TCP.SYN, p.TCP.ACK, p.TCP.FIN, p.TCP.RST = has("SYN"), has("ACK"), has("FIN"), has("RST")
		p.TCP.Seq, p.TCP.Ack = insideISN+1, outsideISN+1
		if in {
			p.TCP.Seq, p.TCP.Ack = outsideISN+1, insideISN+1
		}
		switch {
		case has("SYN"):
			p.TCP.Seq--
		case has("ahead"):
			p.TCP.Seq += 1<<20 - 1
		case has("far"):
			p.TCP.Seq += 1 << 20
		case has("old"):
			p.TCP.Seq -= 1<<16 + 1
		}
		if has("wrong") {
			p.TCP.Ack++
		}
	}
}

// step is one TCP packet and the state after it. The direction is "out" or "in".
type step struct {
	direction, flags string
	state            bpf.DatapathSessionState
}

const (
	opening     = bpf.DatapathSessionStateSESSION_OPENING
	joined      = bpf.DatapathSessionStateSESSION_JOINED
	established = bpf.DatapathSessionStateSESSION_ESTABLISHED
	finOut      = bpf.DatapathSessionStateSESSION_FIN_OUT
	finIn       = bpf.DatapathSessionStateSESSION_FIN_IN
	lastOut     = bpf.DatapathSessionStateSESSION_LAST_OUT
	lastIn      = bpf.DatapathSessionStateSESSION_LAST_IN
	reset       = bpf.DatapathSessionStateSESSION_RESET
	closed      = bpf.DatapathSessionStateSESSION_CLOSED
)

// handshake opens every connection of TestTCPStates.
var handshake = []step{{"out", "SYN", opening}, {"in", "SYN ACK", established}, {"out", "ACK", established}}

func TestTCPStates(t *testing.T) {
	rows := []struct {
		name  string
		steps []step
	}{
		{"data", []step{{"out", "ACK", established}, {"in", "ACK", established}, {"out", "ACK", established}}},
		{"inside closes first", []step{{"out", "FIN ACK", finOut}, {"in", "ACK", finOut}, {"in", "FIN ACK", lastOut}, {"in", "ACK", lastOut}, {"out", "ACK", closed}}},
		{"outside closes first", []step{{"in", "FIN ACK", finIn}, {"out", "ACK", finIn}, {"out", "FIN ACK", lastIn}, {"out", "ACK", lastIn}, {"in", "ACK", closed}}},
		{"half closed, data goes on", []step{{"out", "FIN ACK", finOut}, {"in", "ACK", finOut}, {"out", "ACK", finOut}}},
		{"FIN repeated by the inside", []step{{"out", "FIN ACK", finOut}, {"out", "FIN ACK", finOut}, {"in", "FIN", lastOut}}},
		{"FIN repeated by the outside", []step{{"in", "FIN ACK", finIn}, {"in", "FIN ACK", finIn}, {"out", "FIN", lastIn}}},
		{"FIN repeated after both", []step{{"out", "FIN", finOut}, {"in", "FIN", lastOut}, {"in", "FIN", lastOut}, {"out", "FIN", lastOut}, {"out", "ACK", closed}, {"in", "FIN", closed}, {"out", "FIN", closed}}},
		{"forged acknowledgment of the last FIN", []step{{"in", "FIN", finIn}, {"out", "FIN", lastIn}, {"in", "ACK far", lastIn}, {"in", "ACK", closed}}},
		{"forged FIN", []step{{"in", "FIN far", established}, {"in", "FIN old", established}}},
		{"FIN behind data that is under way", []step{{"in", "FIN ahead", finIn}}},
		{"RST by the outside", []step{{"in", "RST", closed}, {"in", "ACK", closed}}},
		{"RST by the outside, not proven", []step{{"in", "RST ahead", reset}, {"in", "ACK", reset}, {"in", "RST", closed}}},
		{"forged RST", []step{{"in", "RST far", established}, {"in", "RST old", established}}},
		{"RST by the inside", []step{{"out", "RST ACK", reset}, {"in", "ACK", reset}}},
		{"RST not proven, the inside goes on", []step{{"in", "RST ahead", reset}, {"out", "ACK", established}, {"in", "ACK", established}}},
		{"RST after FIN", []step{{"out", "FIN ACK", finOut}, {"in", "RST ahead", reset}}},
		{"RST after close", []step{{"out", "FIN", finOut}, {"in", "FIN", lastOut}, {"out", "ACK", closed}, {"in", "RST ahead", closed}}},
		{"SYN again after close", []step{{"out", "FIN", finOut}, {"in", "FIN", lastOut}, {"out", "SYN", opening}, {"in", "SYN ACK", established}}},
		{"SYN again after RST", []step{{"in", "RST", closed}, {"out", "SYN", opening}, {"in", "SYN ACK", established}}},
		{"old SYN ACK after SYN again", []step{{"in", "RST", closed}, {"out", "SYN", opening}, {"in", "SYN ACK wrong", opening}}},
		{"SYN while established", []step{{"out", "SYN", established}, {"in", "SYN ACK", established}}},
		{"SYN by the outside while established", []step{{"in", "SYN", established}}},
		{"RST does not end with what the outside sends", []step{{"in", "RST ahead", reset}, {"in", "FIN", reset}, {"in", "RST ahead", reset}}},
		{"SYN and RST at once", []step{{"in", "SYN RST", established}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := load(t, options{})
			f := flow{proto: layers.IPProtocolTCP, out: d.sent(1, 1000, remote(443))}
			d.takeAll(t, &f, append(append([]step{}, handshake...), row.steps...))
		})
	}
}

// TestTCPOpening has connections that begin in another way than by handshake.
func TestTCPOpening(t *testing.T) {
	rows := []struct {
		name  string
		steps []step
	}{
		{"both at once", []step{{"out", "SYN", opening}, {"in", "SYN", opening}, {"out", "SYN ACK", opening}, {"in", "SYN ACK", established}}},
		{"SYN repeated", []step{{"out", "SYN", opening}, {"out", "SYN", opening}, {"in", "SYN ACK", established}}},
		{"answer to another SYN", []step{{"out", "SYN", opening}, {"in", "SYN ACK wrong", opening}, {"in", "ACK", opening}}},
		{"refused", []step{{"out", "SYN", opening}, {"in", "RST ACK", closed}}},
		{"forged refusal", []step{{"out", "SYN", opening}, {"in", "RST ACK wrong", opening}, {"in", "RST", opening}}},
		{"given up", []step{{"out", "SYN", opening}, {"out", "RST", reset}}},
		{"in the middle", []step{{"out", "ACK", joined}, {"in", "ACK", established}}},
		{"in the middle, forged answer", []step{{"out", "ACK", joined}, {"in", "ACK far", joined}, {"in", "RST far", joined}, {"in", "SYN ACK", joined}}},
		{"in the middle, the end", []step{{"out", "FIN ACK", joined}, {"in", "FIN ACK", finIn}, {"out", "FIN ACK", lastIn}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := load(t, options{})
			f := flow{proto: layers.IPProtocolTCP, out: d.sent(1, 1000, remote(443))}
			d.takeAll(t, &f, row.steps)
		})
	}
}

// takeAll sends the packets of the steps and checks the state after each.
func (d *datapath) takeAll(t *testing.T, f *flow, steps []step) {
	t.Helper()
	for i, s := range steps {
		d.take(t, f, s)
		if got := d.session(t, f.key()).Life.State; got != s.state {
			t.Fatalf("step %d, %s %s: state %d, want %d", i+1, s.direction, s.flags, got, s.state)
		}
		d.checkBijection(t)
	}
}

// take sends the step's packet; the session keeps its port from the first to the last.
func (d *datapath) take(t testing.TB, f *flow, s step) {
	t.Helper()
	if s.direction == "out" {
		port := d.masquerade(t, 1, f.proto, f.out, withFlags(s.flags, false))
		if f.port != 0 && port != f.port {
			t.Errorf("%s %s: port %d, had %d", s.direction, s.flags, port, f.port)
		}
		f.port = port
		return
	}
	p := d.reply(*f)
	withFlags(s.flags, true)(p)
	in := d.fromUplink(p.Bytes())
	d.expect(t, in, expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(*f, *p), to: 1})
}

// TestTCPTimeouts: how long a session lasts depends on its state.
func TestTCPTimeouts(t *testing.T) {
	rows := []struct {
		name    string
		steps   []step
		timeout uint32
	}{
		{"opening", handshake[:1], 240},
		{"established", handshake, 7440},
		{"half closed", append(append([]step{}, handshake...), step{"out", "FIN", finOut}), 7440},
		{"closing", append(append([]step{}, handshake...), step{"out", "FIN", finOut}, step{"in", "FIN", lastOut}), 240},
		{"reset", append(append([]step{}, handshake...), step{"in", "RST ahead", reset}), 240},
		{"closed", append(append([]step{}, handshake...), step{"out", "FIN", finOut}, step{"in", "FIN", lastOut}, step{"out", "ACK", closed}), 10},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := load(t, options{})
			f := flow{proto: layers.IPProtocolTCP, out: d.sent(1, 1000, remote(443))}
			for _, s := range row.steps {
				d.take(t, &f, s)
			}
			state := d.session(t, f.key()).Life.State
			d.age(t, f.key(), row.timeout-5)
			d.take(t, &f, step{"in", "", state}) // no flag that would change the state
			d.age(t, f.key(), 6)
			d.expect(t, d.fromUplink(d.reply(f).Bytes()), expectation{reason: bpf.DatapathReasonPASS_NO_SESSION})
			f.port = 0 // the next session may have another
			d.take(t, &f, step{"out", "SYN", opening})
			d.checkBijection(t)
			d.checkTokens(t)
		})
	}
}

// TestResetDoesNotRefresh: what an endpoint answers to packets that it does not want does not keep them coming (RFC 7857 section
// 7.1).
func TestResetDoesNotRefresh(t *testing.T) {
	d := load(t, options{})
	f := flow{proto: layers.IPProtocolTCP, out: d.sent(1, 1000, remote(443))}
	d.takeAll(t, &f, append(append([]step{}, handshake...), step{"out", "RST", reset}))
	d.age(t, f.key(), 100)
	old := d.session(t, f.key()).Life.Seen
	d.takeAll(t, &f, []step{{"in", "ACK", reset}, {"out", "RST", reset}})
	if got := d.session(t, f.key()).Life.Seen; got != old {
		t.Errorf("seen %d after RST, was %d", got, old)
	}
}

// TestSeen: packets from inside keep a session alive, those from outside do not (RFC 4787 REQ-6).
func TestSeen(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto.String(), func(t *testing.T) {
			d := load(t, options{})
			f := d.open(t, proto, 1000)
			d.age(t, f.key(), 30)
			old := d.session(t, f.key()).Life.Seen
			d.fromUplink(d.quiet(f).Bytes()).run(t)
			if got := d.session(t, f.key()).Life.Seen; got != old {
				t.Errorf("seen %d after a reply, was %d", got, old)
			}
			d.masquerade(t, 1, proto, f.out, nil)
			if got := d.session(t, f.key()).Life.Seen; got-old < 30 {
				t.Errorf("seen %d after a packet from inside, was %d", got, old)
			}
			d.checkBijection(t)
		})
	}
}
