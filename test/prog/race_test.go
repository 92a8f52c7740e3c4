// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// race runs both functions at once, each on a thread of its own.
func race(a, b func()) {
	var wg sync.WaitGroup
	for _, f := range []func(){a, b} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			f()
		}()
	}
	wg.Wait()
}

// runner sends packets that may lose a race, and remembers which outside port each tuple got.
type runner struct {
	t     *testing.T
	d     *datapath
	ports map[uint16]uint16 // by source port, towards one remote
}

func (r *runner) send(port uint16, to netip.AddrPort) {
	in := r.d.fromEndpoint(1, packet.New(layers.IPProtocolUDP, r.d.sent(1, 1000+port, to), nil).Bytes())
	action, frame := in.run(r.t)
	if action != actions[bpf.Forward] {
		return
	}
	got := binary.BigEndian.Uint16(frame[34:])
	if had, ok := r.ports[port]; ok && had != got {
		r.t.Errorf("tuple of port %d has outside ports %d and %d", port, had, got)
	}
	r.ports[port] = got
}

// TestRaceSame: two CPUs send the first packets of the same tuples, forwards and backwards. Each gets one port, no two the same.
func TestRaceSame(t *testing.T) { overMappings(t, raceSame) }

func raceSame(t *testing.T, m mapping) {
	const rounds, tuples = 60, 200
	d := load(t, options{Mapping: m, Sessions: 1 << 15, Ports: [2]uint16{40000, 40255}})
	for round := range uint16(rounds) {
		to := remote(1 + round)
		a, b := &runner{t, d, map[uint16]uint16{}}, &runner{t, d, map[uint16]uint16{}}
		backwards := round%2 == 1
		race(func() {
			for port := range uint16(tuples) {
				a.send(port, to)
			}
		}, func() {
			for port := range uint16(tuples) {
				if backwards {
					port = tuples - 1 - port
				}
				b.send(port, to)
			}
		})
		for port, got := range a.ports {
			if other, ok := b.ports[port]; ok && other != got {
				t.Errorf("tuple of port %d has outside port %d on one CPU and %d on the other", port, got, other)
			}
		}
		for port := range uint16(tuples) {
			a.send(port, to) // whoever lost has its session now
		}
		if len(a.ports) != tuples {
			t.Errorf("round %d: %d of %d tuples have a session", round, len(a.ports), tuples)
		}
	}
	d.finishRace(t, rounds*tuples)
}

// TestRaceForPorts: two CPUs want more ports of one remote than there are; they get all of them, each once.
func TestRaceForPorts(t *testing.T) { overMappings(t, raceForPorts) }

func raceForPorts(t *testing.T, m mapping) {
	const rounds = 40
	d := load(t, options{Mapping: m, Sessions: 1 << 15, Ports: [2]uint16{40000, 40063}})
	for round := range uint16(rounds) {
		to := remote(1 + round)
		a, b := &runner{t, d, map[uint16]uint16{}}, &runner{t, d, map[uint16]uint16{}}
		race(func() {
			for port := range uint16(48) {
				a.send(port, to)
			}
		}, func() {
			for port := range uint16(48) {
				b.send(100+port, to)
			}
		})
		owners := map[uint16]bool{}
		for _, ports := range []map[uint16]uint16{a.ports, b.ports} {
			for _, got := range ports {
				if owners[got] {
					t.Errorf("round %d: port %d given out twice", round, got)
				}
				owners[got] = true
			}
		}
		if len(owners) != 64 {
			t.Errorf("round %d: %d ports given out, want 64", round, len(owners))
		}
	}
	d.finishRace(t, rounds*64)
}

// TestRaceForOwnPort: two endpoints send from the same source port at the same moment, each on a CPU, and each wants that as its outside port.
// One has it, and the other one of its own.
func TestRaceForOwnPort(t *testing.T) { overMappings(t, raceForOwnPort) }

func raceForOwnPort(t *testing.T, m mapping) {
	const rounds, first, tuples = 8, 40000, 256
	for range rounds {
		d := load(t, options{Mapping: m, Ports: [2]uint16{first, first + 4*tuples - 1}})
		var meet meeting
		var got [3][tuples]uint16
		sender := func(id int) func() {
			return func() {
				for i := range tuples {
					in := d.fromEndpoint(id, packet.New(layers.IPProtocolUDP, d.sent(id, uint16(first+i), remote(443)), nil).Bytes())
					meet.wait(i)
					if action, frame := in.run(t); action == actions[bpf.Forward] {
						got[id][i] = binary.BigEndian.Uint16(frame[34:])
					}
				}
			}
		}
		race(sender(1), sender(2))
		owners := map[uint16]int{}
		for i := range tuples {
			owners[got[1][i]]++
			owners[got[2][i]]++
			if owners[uint16(first+i)] == 0 {
				t.Errorf("port %d was free, and became %d and %d", first+i, got[1][i], got[2][i])
			}
		}
		for port, n := range owners {
			if n != 1 {
				t.Errorf("outside port %d was given out %d times", port, n)
			}
		}
		d.finishRace(t, 2*tuples)
	}
}

// meeting lets two threads go on at the same moment, turn by turn.
type meeting struct{ arrived atomic.Int32 }

func (m *meeting) wait(turn int) {
	m.arrived.Add(1)
	for int(m.arrived.Load()) < 2*(turn+1) {
		runtime.Gosched()
	}
}

// TestRaceExpired: two CPUs take over the ports of sessions that are over, while those sessions come back.
func TestRaceExpired(t *testing.T) { overMappings(t, raceExpired) }

func raceExpired(t *testing.T, m mapping) {
	const rounds, tuples = 60, 64
	d := load(t, options{Mapping: m, Sessions: 1 << 15, Ports: [2]uint16{40000, 40063}})
	for range rounds {
		for key, s := range entries[sessionKey, sessionEntry](t, d.FoSessions4) {
			if s.Life.State > bpf.DatapathSessionStateSESSION_CLAIMED {
				d.age(t, key, 300+portHold+1)
			}
		}
		a, b := &runner{t, d, map[uint16]uint16{}}, &runner{t, d, map[uint16]uint16{}}
		race(func() {
			for port := range uint16(tuples) {
				a.send(port, remote(443))
			}
		}, func() {
			for port := range uint16(tuples) {
				b.send(port/2+48, remote(443))
			}
		})
		d.checkBijection(t)
	}
	d.checkTokens(t)
}

// TestRaceEnded: one CPU makes sessions while the other ends all, again and again. Whole ones are ended, and nothing of them stays.
func TestRaceEnded(t *testing.T) { overMappings(t, raceEnded) }

func raceEnded(t *testing.T, m mapping) {
	const rounds, tuples = 40, 64
	d := load(t, options{Mapping: m, Sessions: 1 << 12, Ports: [2]uint16{40000, 40063}})
	for range rounds {
		race(func() {
			for port := range uint16(tuples) {
				d.fromEndpoint(1, packet.New(layers.IPProtocolUDP, d.sent(1, port, remote(443)), nil).Bytes()).run(t)
			}
		}, func() {
			for range 20 {
				d.end(t, netip.Addr{})
			}
		})
		d.checkBijection(t)
		if live, ended := d.live(t), d.end(t, netip.Addr{}); ended != live {
			t.Errorf("%d sessions ended, want %d", ended, live)
		}
		d.checkBijection(t)
		if n := d.live(t); n != 0 {
			t.Errorf("%d sessions live after all have been ended", n)
		}
	}
	d.checkTokens(t)
}

// TestRaceReused: in a small table entries go from one flow to another all the time, also under the hands of who ends sessions.
func TestRaceReused(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		const packets = 20000
		d := load(t, options{Mapping: m, Sessions: 64, Ports: [2]uint16{40000, 41023}})
		done := make(chan struct{})
		race(func() {
			defer close(done)
			for n := range packets {
				in := packet.New(layers.IPProtocolUDP, d.sent(1+n%2, uint16(n*7), remote(uint16(n))), nil)
				d.fromEndpoint(1+n%2, in.Bytes()).run(t)
			}
		}, func() {
			for {
				select {
				case <-done:
					return
				default:
					d.end(t, netip.Addr{})
				}
			}
		})
		d.checkBijection(t)
		d.checkTokens(t)
	})
}

// TestEnd: the sessions of one inside end, those of another go on.
func TestEnd(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		d := load(t, options{Mapping: m})
		gone := d.open(t, layers.IPProtocolTCP, 1000)
		stays := d.sent(2, 1000, remote(443))
		port := d.masquerade(t, 2, layers.IPProtocolTCP, stays, nil)
		if ended := d.end(t, d.endpoints[1].addr); ended != 1 {
			t.Errorf("%d sessions ended, want 1", ended)
		}
		d.checkBijection(t)
		d.expect(t, d.fromUplink(d.reply(gone).Bytes()), expectation{reason: bpf.DatapathReasonPASS_NO_SESSION})
		if got := d.masquerade(t, 2, layers.IPProtocolTCP, stays, nil); got != port {
			t.Errorf("the session that stays has port %d, had %d", got, port)
		}
	})
}

// end runs end_sessions for an inside address, or for all, and returns how many were live.
func (d *datapath) end(t testing.TB, inside netip.Addr) int {
	t.Helper()
	request := bpf.DatapathEndRequest{Now: monotonic(t)}
	if inside.IsValid() {
		request.Inside = inside.As4()
	}
	ended, err := d.loadEnd(t).Run(&ebpf.RunOptions{Context: request})
	if err != nil {
		t.Fatal(err)
	}
	return int(ended)
}

// loadEnd loads end_sessions as the loader does, with scratch maps of its own: here, too, the other programs may interrupt it.
func (d *datapath) loadEnd(t testing.TB) *ebpf.Program {
	t.Helper()
	spec, err := bpf.LoadDatapath()
	if err != nil {
		t.Fatal(err)
	}
	maps := map[string]*ebpf.Map{
		bpf.DatapathMapFoBitmaps4:  d.FoBitmaps4,
		bpf.DatapathMapFoExhausted: d.FoExhausted,
		bpf.DatapathMapFoMappings4: d.FoMappings4,
		bpf.DatapathMapFoPorts4:    d.FoPorts4,
		bpf.DatapathMapFoReplies4:  d.FoReplies4,
		bpf.DatapathMapFoSessions4: d.FoSessions4,
		bpf.DatapathMapFoUsage:     d.FoUsage,
	}
	var load struct {
		EndSessions *ebpf.Program `ebpf:"end_sessions"`
	}
	for name, m := range maps {
		spec.Maps[name].MaxEntries = m.MaxEntries()
	}
	if err := spec.LoadAndAssign(&load, &ebpf.CollectionOptions{MapReplacements: maps}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { load.EndSessions.Close() })
	return load.EndSessions
}

// live counts the sessions that a packet may use.
func (d *datapath) live(t testing.TB) int {
	t.Helper()
	n, now := 0, monotonic(t)
	for key, s := range entries[sessionKey, sessionEntry](t, d.FoSessions4) {
		if isLive(now, s.Life.Seen, s.Life.State, key.Proto) {
			n++
		}
	}
	return n
}

// finishRace checks what is left when all is quiet again.
func (d *datapath) finishRace(t *testing.T, sessions int) {
	t.Helper()
	d.checkBijection(t)
	if n := d.count(t); n != sessions {
		t.Errorf("%d sessions, want %d", n, sessions)
	}
	d.checkTokens(t)
}
