// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// floodSessions is the size of the table that is flooded: the default.
const floodSessions = 131072

const (
	// neighbours is how many connections the neighbour makes beside the flood.
	neighbours = 10000
	// hostConnections is how many the host makes itself.
	hostConnections = 1000
	// refused is how many new ones the neighbour tries in vain.
	refused = 5
	// streams are established sessions beside the flood, and pace the rest between two packets of each.
	streams = 100
	pace    = 50 * time.Millisecond
)

// flood shows a neighbour's new connections and established streams beside an endpoint that floods, with the default limits.
func flood(o options) error { return floodNeighbour(o, "", anywhere) }

// exhausted shows the same beside a flood to one remote, all ports of which are taken soon: whoever is refused then has had all of
// them looked at, unless somebody has in the last second.
func exhausted(o options) error {
	return floodNeighbour(o, noLimits+dependent.lines, func(r uint64) flow {
		return flow{remote: firstRemote, insidePort: uint16(r), remotePort: 53, identity: r}
	})
}

func floodNeighbour(o options, lines string, to func(uint64) flow) error {
	return beside(o, lines, to, func(begin func(), stop <-chan struct{}) error {
		n := min(neighbours, o.connections)
		if err := oneByOne("the neighbour's connections, before the flood", "ns2", n/10, stop); err != nil {
			return err
		}
		begin()
		return oneByOne("beside the flood, one by one", "ns2", n, stop)
	})
}

// full shows established sessions, new ones and the host's own beside a flood that nothing limits: the table is full.
func full(o options) error {
	return beside(o, noLimits, anywhere, func(begin func(), stop <-chan struct{}) error {
		begin()
		if err := waitFull(stop); err != nil {
			return err
		}
		if err := oneByOne("the host's own connections", "", min(hostConnections, o.connections), stop); err != nil {
			return err
		}
		return oneByOne("the neighbour's new connections: no room", "ns2", refused, stop)
	})
}

// oneByOne makes n connections and says how it went.
func oneByOne(what, namespace string, n int, stop <-chan struct{}) error {
	var t tally
	var next atomic.Int64
	start := time.Now()
	if err := t.connect(namespace, &next, n, stop); err != nil {
		return err
	}
	t.report(what, n, time.Since(start))
	return nil
}

// waitFull waits until as many sessions are live as there can be.
func waitFull(stop <-chan struct{}) error {
	for {
		s, err := pins().Sessions()
		if err != nil {
			return err
		}
		if s.Live == s.Capacity {
			say("live beside the flood", "%d of %d", s.Live, s.Capacity)
			return nil
		}
		select {
		case <-stop:
			say("live beside the flood", "%d of %d: not full", s.Live, s.Capacity)
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// beside runs the neighbour, which begins the flood when it is ready, and has it stopped after a while; streams are there before
// and all the time.
func beside(o options, lines string, to func(uint64) flow, neighbour func(begin func(), stop <-chan struct{}) error) error {
	if err := up(o, floodSessions, allPorts+lines); err != nil {
		return err
	}
	established, err := newSample(streams, 1)
	if err != nil {
		return err
	}
	defer established.close()
	s, err := newService()
	if err != nil {
		return err
	}
	defer unix.Close(s.listener)
	w, err := newWitness(0) // nobody answers what the flood asks, not even by ICMP
	if err != nil {
		return err
	}
	defer w.close()
	before, err := readCounters()
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var flooded error
	established.start(pace)
	err = neighbour(func() {
		time.AfterFunc(o.flood, func() { close(stop) })
		wg.Go(func() { flooded = sendFlood(to, stop) })
	}, stop)
	if err != nil {
		return err
	}
	wg.Wait()
	if err := established.pause(); err != nil {
		return err
	}
	if flooded != nil {
		return flooded
	}
	established.report("the neighbour's established streams")
	return before.report()
}

// anywhere is a flow of random ports to a remote of 20.0.0.0/8.
func anywhere(r uint64) flow {
	return flow{remote: 20<<24 | uint32(r)>>8, insidePort: uint16(r >> 32), remotePort: uint16(r >> 48), identity: r}
}

// sendFlood sends datagrams from the first endpoint and its own address as fast as they go, of flows that are chosen at random.
func sendFlood(to func(uint64) flow, stop <-chan struct{}) error {
	s, err := newSender(endpoints[0].namespace, endpoints[0].address)
	if err != nil {
		return err
	}
	defer s.close()
	n, start := 0, time.Now()
	for ; ; n++ {
		if err := s.send(to(rand.Uint64())); err != nil {
			return err
		}
		if n%batchSize != 0 {
			continue
		}
		select {
		case <-stop:
			say("the flood", "%d datagrams in %.1f s: %.0f/s; queue full %d times", n, time.Since(start).Seconds(),
				float64(n)/time.Since(start).Seconds(), s.blocked)
			return nil
		default:
		}
	}
}
