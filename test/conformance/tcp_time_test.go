// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"testing"
	"time"
)

// Bounds of RFC 5382 REQ-5, less margin.
const (
	almostEstablished = 7440*time.Second - margin
	almostTransitory  = 240*time.Second - margin
)

// margin is what a session may have aged on its own until the test looks at it: a second, and another one by rounding.
const margin = 2 * time.Second

func checkTCPTimers(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	h.part("established", func() {
		c := r.established(22001, r.http())
		h.age(almostEstablished)
		c.exchange()
	})
	h.part("half-closed by the inside", func() {
		c := r.established(22002, r.http())
		c.out("FA", "")
		c.in("A", "")
		h.age(almostEstablished)
		c.in("PA", "more")
		c.out("A", "")
	})
	h.part("half-closed by the outside", func() {
		c := r.established(22003, r.http())
		c.in("FA", "")
		c.out("A", "")
		h.age(almostEstablished)
		c.in("A", "")
		c.out("PA", "more")
	})
	h.part("opening", func() {
		c := r.connection(22004, r.http())
		c.out("S", "")
		h.age(almostTransitory)
		c.in("SA", "")
		c.out("A", "")
		c.exchange()
	})
	h.part("opening, answered", func() {
		c := r.connection(22005, r.http())
		c.out("S", "")
		c.in("SA", "")
		h.age(almostTransitory)
		c.in("SA", "")
		c.out("A", "")
	})
	h.part("closing", func() { closing(r) })
}

// closing ages a connection of which both FINs were sent and the last one not acknowledged. (Once it is, the connection is closed,
// and RFC 5382 section 5 asks for no time.)
func closing(r *raw) {
	c := r.established(22006, r.http())
	c.out("FA", "")
	c.in("FA", "")
	c.theirs.next-- // the FIN, again
	r.h.age(almostTransitory)
	c.in("FA", "")
	c.out("A", "")
}

// checkUnprovenRST sends RSTs that are in the window of the inside, but not where it waits for the next octet. RFC 5961 makes a
// host answer with an ACK and go on, so that the session is still needed.
func checkUnprovenRST(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	h.part("in the window", func() {
		c := r.established(23001, r.http())
		rst := c.segment(&c.theirs, "R", "")
		rst.TCP.Seq += 1000
		r.in("RST", rst, c.inside)
		c.out("A", "")
		r.h.age(almostTransitory)
		c.exchange()
	})
	h.part("in the window, then silence", func() {
		c := r.established(23002, r.http())
		rst := c.segment(&c.theirs, "R", "")
		rst.TCP.Seq += 60000
		r.in("RST", rst, c.inside)
		r.h.age(almostTransitory)
		c.exchange()
	})
	h.part("exact, from outside", func() {
		c := r.established(23003, r.http())
		c.in("R", "")
	})
	h.part("exact, from inside", func() {
		c := r.established(23004, r.http())
		c.out("R", "")
	})
}

// checkBlindSegments forges segments of the remote host, such as somebody sends who does not see the connection. The session goes
// on as an established one. Whether the segment is delivered does not matter.
func checkBlindSegments(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	for i, blind := range []struct {
		name, flags string
		ahead       uint32
	}{
		{"RST behind the window", "R", ^uint32(0)},
		{"RST far behind the window", "R", 1 << 31},
		{"RST ahead of the window", "R", 2 << 20},
		{"RST far ahead of the window", "R", 1<<31 - 70000},
		{"RST/ACK ahead of the window", "RA", 1 << 28},
		{"SYN where the next octet is", "S", 0},
		{"SYN in the window", "S", 1000},
		{"SYN ahead of the window", "S", 1 << 28},
		{"SYN behind the window", "S", ^uint32(4999)},
	} {
		h.part(blind.name, func() {
			c := r.established(uint16(24001+i), r.http())
			forged := c.segment(&c.theirs, blind.flags, "")
			forged.TCP.Seq = c.theirs.next + blind.ahead
			r.sendIn(forged)
			r.fence()
			h.age(almostEstablished)
			c.exchange()
		})
	}
}
