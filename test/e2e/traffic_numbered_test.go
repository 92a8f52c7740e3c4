// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// numbered is how many packets a stream has, and ahead how many of them may be on their way: no queue is as short.
const (
	numbered = 10000
	ahead    = 64
)

// Each of a stream of numbered packets arrives once and in order, and is counted once.
func TestTrafficNumberedStream(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		ns1, ns2, out := udpAt(t, v.ns1, 0), udpAt(t, v.ns2, 0), udpAt(t, v.atOutside, 0)
		counts := func(reason string, send func()) {
			if !v.ebpf {
				send()
				return
			}
			before := status(t)
			send()
			countedMore(t, before, reason, numbered)
		}
		counts("FORWARD_ENDPOINT", func() { numberedStream(t, ns1, ns2, addrPort(ns2)) })
		counts("FORWARD_ENDPOINT", func() { numberedStream(t, ns2, ns1, addrPort(ns1)) })
		var back netip.AddrPort
		counts("FORWARD_OUTSIDE", func() { back = numberedStream(t, ns1, out, addrPort(out)) })
		if back.Addr() != v.uplink.addr {
			t.Errorf("the outside saw %s", back)
		}
		counts("FORWARD_INSIDE", func() { numberedStream(t, out, ns1, back) })
	})
}

func addrPort(conn *net.UDPConn) netip.AddrPort {
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// numberedStream sends the packets from one socket to another and returns the source that the receiver saw.
func numberedStream(t *testing.T, from, to *net.UDPConn, dst netip.AddrPort) netip.AddrPort {
	t.Helper()
	var arrived atomic.Uint64
	var source netip.AddrPort
	done := make(chan error, 1)
	if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go func() { done <- receiveNumbered(to, &arrived, &source) }()
	sendNumbered(t, from, dst, &arrived)
	if err := <-done; err != nil {
		t.Errorf("%s to %s: %v", from.LocalAddr(), dst, err)
	}
	return source
}

// sendNumbered sends on one CPU: packets sent on two of them may overtake each other before any datapath sees them.
func sendNumbered(t *testing.T, from *net.UDPConn, dst netip.AddrPort, arrived *atomic.Uint64) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and the thread ends with its affinity
		sent <- func() error {
			if err := useOneCPU(); err != nil {
				return err
			}
			for n := range uint64(numbered) {
				for deadline := time.Now().Add(patience); n >= arrived.Load()+ahead; runtime.Gosched() {
					if time.Now().After(deadline) {
						return fmt.Errorf("%d sent, %d arrived", n, arrived.Load())
					}
				}
				if _, err := from.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, n), dst); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	if err := <-sent; err != nil {
		t.Errorf("send to %s: %v", dst, err)
	}
}

func useOneCPU() error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
			return unix.SchedSetaffinity(0, &one)
		}
	}
	return nil
}

// receiveNumbered wants exactly the next number each time, and nothing after the last one.
func receiveNumbered(conn *net.UDPConn, arrived *atomic.Uint64, source *netip.AddrPort) error {
	buffer := make([]byte, 64)
	for want := range uint64(numbered) {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return fmt.Errorf("packet %d: %w", want, err)
		}
		if got := binary.BigEndian.Uint64(buffer[:n]); got != want {
			return fmt.Errorf("packet %d arrived, want %d", got, want)
		}
		if *source = from; arrived.Add(1) == numbered {
			break
		}
	}
	// A duplicate would be in the queue by now: both copies pass before the sender goes on.
	if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return err
	}
	if n, _, err := conn.ReadFromUDPAddrPort(buffer); err == nil {
		return fmt.Errorf("one more of %d octets after the last", n)
	}
	return nil
}
