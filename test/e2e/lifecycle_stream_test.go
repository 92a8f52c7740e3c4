// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// streamWindow is how many datagrams may be under way: fewer than any queue between the two ends holds.
	streamWindow = 100
	streamBuffer = 8 << 20
)

// stream is numbered datagrams from one namespace to another, where they are echoed.
type stream struct {
	client, server *net.UDPConn
	window         int64
	stopping       atomic.Bool
	sent, back     atomic.Int64
	stalls         atomic.Int64
	sending        sync.WaitGroup
	running        sync.WaitGroup
	arrived        tally
	echoed         tally
	sources        map[netip.AddrPort]bool
}

// tally counts how often each number came.
type tally map[uint64]int

func (c tally) problems() (lost, duplicated int, last uint64) {
	for number, times := range c {
		duplicated += times - 1
		last = max(last, number)
	}
	return int(last) + 1 - len(c), duplicated, last
}

// startStream begins to send; the test ends it with whole.
func startStream(t *testing.T, from, to, address string) *stream {
	t.Helper()
	return startWindow(t, streamWindow, from, to, address)
}

// startFlood is a stream that waits for nothing; the test ends it with stop.
func startFlood(t *testing.T, from, to, address string) *stream {
	t.Helper()
	return startWindow(t, math.MaxInt64/2, from, to, address)
}

func startWindow(t *testing.T, window int64, from, to, address string) *stream {
	t.Helper()
	s := &stream{window: window, arrived: tally{}, echoed: tally{}, sources: map[netip.AddrPort]bool{}}
	s.server = inNamespace(t, to, func() (*net.UDPConn, error) {
		return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 0)))
	})
	s.client = inNamespace(t, from, func() (*net.UDPConn, error) {
		return net.DialUDP("udp4", nil, s.server.LocalAddr().(*net.UDPAddr))
	})
	for _, c := range []*net.UDPConn{s.client, s.server} {
		forceBuffer(t, c)
		t.Cleanup(func() { c.Close() })
	}
	s.running.Go(s.echo)
	s.running.Go(s.collect)
	s.sending.Go(s.send)
	s.progress(t)
	return s
}

// send waits for what is under way rather than for a clock. After a moment without an echo it goes on: something was lost.
func (s *stream) send() {
	for !s.stopping.Load() {
		since := time.Now()
		for s.sent.Load()-s.back.Load() >= (1+s.stalls.Load())*s.window && !s.stopping.Load() {
			if time.Since(since) > time.Second {
				s.stalls.Add(1)
			}
			runtime.Gosched()
		}
		_, err := s.client.Write(binary.BigEndian.AppendUint64(make([]byte, 0, 32), uint64(s.sent.Load())))
		if err == nil || !s.stopping.Load() {
			s.sent.Add(1) // an error is a loss
		}
	}
}

func (s *stream) echo() {
	buf := make([]byte, 64)
	for {
		n, from, err := s.server.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		s.arrived[binary.BigEndian.Uint64(buf[:n])]++
		s.sources[from] = true
		_, _ = s.server.WriteToUDPAddrPort(buf[:n], from) // not sent is not echoed
	}
}

func (s *stream) collect() {
	buf := make([]byte, 64)
	for {
		n, err := s.client.Read(buf)
		if err != nil && !s.stopping.Load() {
			continue // an ICMP error
		}
		if err != nil {
			return
		}
		s.echoed[binary.BigEndian.Uint64(buf[:n])]++
		s.back.Add(1)
	}
}

// progress waits until the stream has moved on by more than a window: what comes next was sent after now.
func (s *stream) progress(t *testing.T) {
	t.Helper()
	s.reach(t, s.back.Load()+3*streamWindow)
}

func (s *stream) reach(t *testing.T, count int64) {
	t.Helper()
	until(t, "the stream", func() bool { return s.back.Load() >= count })
}

// stop ends the stream and waits for what is under way.
func (s *stream) stop() {
	s.stopping.Store(true)
	s.sending.Wait() // or the last datagram would be sent and not yet counted as such
	deadline := time.Now().Add(time.Second)
	for s.back.Load() < s.sent.Load() && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	now := time.Now()
	_, _ = s.client.SetReadDeadline(now), s.server.SetReadDeadline(now)
	s.running.Wait()
}

// whole checks that every number came once, there and back, from one source.
func (s *stream) whole(t *testing.T) {
	t.Helper()
	s.stop()
	for way, c := range map[string]tally{"there": s.arrived, "back": s.echoed} {
		lost, duplicated, last := c.problems()
		if lost += int(s.sent.Load()) - int(last) - 1; lost != 0 || duplicated != 0 {
			t.Errorf("%s: %d of %d lost, %d duplicated", way, lost, s.sent.Load(), duplicated)
		}
	}
	if len(s.sources) != 1 {
		t.Errorf("came from %v, want one source", s.sources)
	}
}

// forceBuffer makes the buffer of a socket hold more than the window, whatever the host's limit is.
func forceBuffer(t *testing.T, c *net.UDPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, streamBuffer)
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// inNamespace opens something in a namespace, "" being the lab host's.
func inNamespace[T any](t *testing.T, name string, open func() (T, error)) T {
	t.Helper()
	runtime.LockOSThread()
	former, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer former.Close()
	if name != "" {
		ns, err := netns.GetFromName(name)
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			t.Fatal(err)
		}
	}
	opened, err := open()
	if back := netns.Set(former); back != nil {
		t.Fatal(back) // the thread stays locked and ends with the test
	}
	runtime.UnlockOSThread()
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
