// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"testing"

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
	in := r.d.fromEndpoint(1, packet.New(layers.IPProtocolUDP, r.d.sent(1, port, to), nil).Bytes())
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

// finishRace checks what is left when all is quiet again.
func (d *datapath) finishRace(t *testing.T, sessions int) {
	t.Helper()
	d.checkBijection(t)
	if n := d.count(t); n != sessions {
		t.Errorf("%d sessions, want %d", n, sessions)
	}
	d.checkTokens(t)
}
