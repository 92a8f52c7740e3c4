// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// withFlags sets the flags named in words: "SYN ACK".
func withFlags(words string) func(*packet.Packet) {
	return func(p *packet.Packet) {
		has := func(flag string) bool { return strings.Contains(words, flag) }
		p.TCP.SYN, p.TCP.ACK, p.TCP.FIN, p.TCP.RST = has("SYN"), has("ACK"), has("FIN"), has("RST")
	}
}

// step is one TCP packet and the state after it. The direction is "out" or "in".
type step struct {
	direction, flags string
	state            bpf.DatapathSessionState
}

const (
	opening     = bpf.DatapathSessionStateSESSION_OPENING
	established = bpf.DatapathSessionStateSESSION_ESTABLISHED
	finOut      = bpf.DatapathSessionStateSESSION_FIN_OUT
	finIn       = bpf.DatapathSessionStateSESSION_FIN_IN
	reset       = bpf.DatapathSessionStateSESSION_RESET
	closed      = bpf.DatapathSessionStateSESSION_CLOSED
)

// handshake opens every connection below.
var handshake = []step{{"out", "SYN", opening}, {"in", "SYN ACK", established}, {"out", "ACK", established}}

func TestTCPStates(t *testing.T) {
	rows := []struct {
		name  string
		steps []step
	}{
		{"data", []step{{"out", "ACK", established}, {"in", "ACK", established}, {"out", "ACK", established}}},
		{"inside closes first", []step{{"out", "FIN ACK", finOut}, {"in", "ACK", finOut}, {"in", "FIN ACK", closed}, {"out", "ACK", closed}}},
		{"outside closes first", []step{{"in", "FIN ACK", finIn}, {"out", "ACK", finIn}, {"out", "FIN ACK", closed}, {"in", "ACK", closed}}},
		{"half closed, data goes on", []step{{"out", "FIN ACK", finOut}, {"in", "ACK", finOut}, {"out", "ACK", finOut}}},
		{"FIN repeated by the inside", []step{{"out", "FIN ACK", finOut}, {"out", "FIN ACK", finOut}, {"in", "FIN", closed}}},
		{"FIN repeated by the outside", []step{{"in", "FIN ACK", finIn}, {"in", "FIN ACK", finIn}, {"out", "FIN", closed}}},
		{"FIN repeated after both", []step{{"out", "FIN", finOut}, {"in", "FIN", closed}, {"in", "FIN", closed}, {"out", "FIN", closed}}},
		{"RST by the outside", []step{{"in", "RST", reset}, {"in", "ACK", reset}}},
		{"RST by the inside", []step{{"out", "RST ACK", reset}, {"in", "ACK", reset}}},
		{"forged RST, the inside goes on", []step{{"in", "RST", reset}, {"out", "ACK", established}, {"in", "ACK", established}}},
		{"RST after FIN", []step{{"out", "FIN ACK", finOut}, {"in", "RST", reset}}},
		{"RST after close", []step{{"out", "FIN", finOut}, {"in", "FIN", closed}, {"in", "RST", closed}}},
		{"SYN again after close", []step{{"out", "FIN", finOut}, {"in", "FIN", closed}, {"out", "SYN", opening}, {"in", "SYN ACK", established}}},
		{"SYN again after RST", []step{{"in", "RST", reset}, {"out", "SYN", opening}, {"in", "SYN ACK", established}}},
		{"SYN while established", []step{{"out", "SYN", established}, {"in", "SYN ACK", established}}},
		{"SYN by the outside while established", []step{{"in", "SYN", established}}},
		{"RST does not end with what the outside sends", []step{{"in", "RST", reset}, {"in", "FIN", reset}, {"in", "RST", reset}}},
		{"SYN and RST at once", []step{{"in", "SYN RST", reset}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := load(t, options{})
			f := flow{proto: layers.IPProtocolTCP, out: d.sent(1, 1000, remote(443))}
			for i, s := range append(append([]step{}, handshake...), row.steps...) {
				d.take(t, &f, s)
				if got := d.session(t, f.key()).Life.State; got != s.state {
					t.Fatalf("step %d, %s %s: state %d, want %d", i+1, s.direction, s.flags, got, s.state)
				}
				d.checkBijection(t)
			}
		})
	}
}

// take sends the step's packet; the session keeps its port from the first to the last.
func (d *datapath) take(t testing.TB, f *flow, s step) {
	t.Helper()
	if s.direction == "out" {
		port := d.masquerade(t, 1, f.proto, f.out, withFlags(s.flags))
		if f.port != 0 && port != f.port {
			t.Errorf("%s %s: port %d, had %d", s.direction, s.flags, port, f.port)
		}
		f.port = port
		return
	}
	p := d.reply(*f)
	withFlags(s.flags)(p)
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
		{"half closed", append(append([]step{}, handshake...), step{"out", "FIN", finOut}), 240},
		{"reset", append(append([]step{}, handshake...), step{"in", "RST", reset}), 240},
		{"closed", append(append([]step{}, handshake...), step{"out", "FIN", finOut}, step{"in", "FIN", closed}), 15},
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
