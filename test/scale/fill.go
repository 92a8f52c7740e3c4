// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"sync"
	"time"

	"flyover/test/lab"
)

// uplinkAddress is the one that the outside sees.
var uplinkAddress = [4]byte{203, 0, 113, 2}

// kind is how the sessions are spread: to each remote from as many inside ports as there have to be.
type kind struct {
	lines   string // of the configuration
	remotes int
	bases   [2]int // first inside port of the first and of the second fill
}

// With mappings an inside port has one outside port for all remotes: 32 of these let two fills have inside ports of their own. By
// tuples each remote has its own set of ports, which 17 remotes use to 95 in 100; the second endpoint finds its own port taken.
var (
	independent = kind{"    mapping: endpoint-independent\n", 32, [2]int{1024, 20000}}
	dependent   = kind{"    mapping: endpoint-dependent\n", 17, [2]int{1024, 32000}}
)

// firstRemote is 198.18.1.1. Nobody answers there.
const firstRemote = 198<<24 | 18<<16 | 1<<8 | 1

// filler makes the sessions of one test.
type filler struct {
	kind
	each    int // sessions of an endpoint
	senders [2]*sender
}

func fill(o options, k kind) error {
	f, s, l, err := prepare(o, k)
	if err != nil {
		return err
	}
	defer f.close()
	defer s.close()
	if err := f.fillBeside(s, 0); err != nil {
		return err
	}
	if err := l.report(o.sessions); err != nil {
		return err
	}
	if err := inspect(o); err != nil {
		return err
	}
	if err := expire(s); err != nil {
		return err
	}
	if err := f.fillBeside(s, 1); err != nil {
		return err
	}
	if err := checkTables(); err != nil {
		return err
	}
	s.report("the sample, all the time")
	return nil
}

// prepare brings the network up with the sample and nothing else. The sample's sessions are the first, so it is there to be hit
// by whatever goes wrong later.
func prepare(o options, k kind) (f *filler, s *sample, l ledger, err error) {
	if l.empty, err = readMemory(); err != nil {
		return f, s, l, err
	}
	if err = up(o, o.sessions, allPorts+noLimits+k.lines); err != nil {
		return f, s, l, err
	}
	if l.up, err = readMemory(); err != nil {
		return f, s, l, err
	}
	f = &filler{kind: k, each: (o.sessions - o.sample) / 2}
	for i, e := range endpoints {
		if f.senders[i], err = newSender(e.namespace, e.address); err != nil {
			return f, s, l, err
		}
	}
	if s, err = newSample(o.sample, 0, 1); err != nil {
		return f, s, l, err
	}
	if l.ready, err = readMemory(); err != nil {
		return f, s, l, err
	}
	return f, s, l, s.round()
}

func (f *filler) close() {
	for _, s := range f.senders {
		s.close()
	}
}

// fillBeside makes all the filler's sessions, for the first or second time, while the sample goes on.
func (f *filler) fillBeside(s *sample, turn int) error {
	w, err := newWitness(2*f.each + 1)
	if err != nil {
		return err
	}
	defer w.close()
	before, err := readCounters()
	if err != nil {
		return err
	}
	s.start(100 * time.Millisecond)
	start := time.Now()
	sent := f.sendAll(turn)
	took := time.Since(start)
	if err := s.pause(); err != nil {
		return err
	}
	if sent != nil {
		return sent
	}
	say([]string{"first fill", "second fill, over the expired"}[turn], "%d sessions in %.2f s: %.0f/s; queue full %d times",
		2*f.each, took.Seconds(), float64(2*f.each)/took.Seconds(), f.senders[0].blocked+f.senders[1].blocked)
	if err := w.report(2 * f.each); err != nil {
		return err
	}
	if err := before.report(); err != nil {
		return err
	}
	sessions, err := pins().Sessions()
	say("live", "%d of %d entries, capacity %d", sessions.Live, sessions.Entries, sessions.Capacity)
	return err
}

// sendAll sends both endpoints' at the same time.
func (f *filler) sendAll(turn int) error {
	var wg sync.WaitGroup
	var errs [2]error
	for e := range f.senders {
		wg.Go(func() { errs[e] = f.sendFrom(e, turn) })
	}
	wg.Wait()
	for e, err := range errs {
		if err != nil {
			return fmt.Errorf("%s: %w", endpoints[e].namespace, err)
		}
	}
	return nil
}

func (f *filler) sendFrom(e, turn int) error {
	for i := range f.each {
		port := f.bases[turn] + i/f.remotes
		if err := f.senders[e].send(flow{
			remote:     uint32(firstRemote + i%f.remotes),
			insidePort: uint16(port),
			remotePort: 53,
			identity:   uint64(e+1)<<32 | uint64(port),
		}); err != nil {
			return err
		}
	}
	return f.senders[e].flush()
}

func (w *witness) report(want int) error {
	var n [countsLen]uint64
	for i := range n {
		var err error
		if n[i], err = w.count(uint32(i)); err != nil {
			return err
		}
	}
	say("arrived at the outside", "%d different tuples (want %d), %d used by two insides (want 0)", n[distinct], want, n[clashes])
	say("", "%d packets from %s, %d from other addresses (want 0)", n[fromUplinkAddress], lab.UplinkAddress, n[fromElsewhere])
	return nil
}

// expire lets time pass until all but the sample have expired, and their ports are held no more.
func expire(s *sample) error {
	for range 3 {
		if err := age(150 * time.Second); err != nil {
			return err
		}
		if err := s.round(); err != nil {
			return err
		}
	}
	sessions, err := pins().Sessions()
	say("after 450 s (aged), the sample kept alive", "%d live of %d entries", sessions.Live, sessions.Entries)
	return err
}

func checkTables() error {
	start := time.Now()
	t, err := readTables()
	if err != nil {
		return err
	}
	say("sessions, replies, mappings and ports", "%d sessions, %d dead entries; %d that do not belong together (want 0), compared in %.1f s",
		t.sessions, t.dead, t.wrong, time.Since(start).Seconds())
	return nil
}
