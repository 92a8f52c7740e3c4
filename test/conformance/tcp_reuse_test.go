// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"testing"
	"time"

	"flyover/test/packet"
)

func checkTupleReuse(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	h.part("closed by the inside", func() {
		c := r.established(25001, r.http())
		c.out("FA", "")
		c.in("FA", "")
		c.out("A", "")
		connectAgain(c)
	})
	h.part("closed by the outside", func() {
		c := r.established(25002, r.http())
		c.in("FA", "")
		c.out("FA", "")
		c.in("A", "")
		connectAgain(c)
	})
	h.part("reset by the outside", func() {
		c := r.established(25003, r.http())
		c.in("R", "")
		connectAgain(c)
	})
	h.part("reset by the inside", func() {
		c := r.established(25004, r.http())
		c.out("R", "")
		connectAgain(c)
	})
	h.part("inside started anew", func() { halfOpen(r) })
	h.part("old SYN/ACK", func() { oldSYNACK(r) })
}

// connectAgain opens the connection anew, with no pause. The port may be another one.
func connectAgain(c *connection) {
	c.again()
	connectAnew(c)
}

func connectAnew(c *connection) {
	c.outside = c.r.out("new SYN", c.segment(&c.mine, "S", ""))
	c.handshake()
	c.r.h.age(almostEstablished)
	c.exchange()
}

// halfOpen is figure 9 of RFC 9293: the inside has lost its connection and opens it again, while the outside still has it. The
// challenge has to come through, and the RST that it provokes.
func halfOpen(r *raw) {
	c := r.established(25005, r.http())
	before := *c
	c.again()
	c.pass("new SYN", c.segment(&c.mine, "S", ""))
	before.in("A", "")
	rst := c.segment(&c.mine, "R", "")
	rst.TCP.Seq = before.mine.next
	c.pass("RST", rst)
	connectAnew(c)
}

// oldSYNACK answers a SYN with the SYN/ACK of an earlier one. If it is delivered, the inside sends a RST. Either way, the right
// SYN/ACK makes the connection.
func oldSYNACK(r *raw) {
	c := r.connection(25006, r.http())
	c.out("S", "")
	old := c.segment(&c.theirs, "SA", "")
	old.TCP.Seq -= 1 << 24
	old.TCP.Ack -= 1 << 26
	if r.delivered(old) {
		rst := c.segment(&c.mine, "R", "")
		rst.TCP.Seq = old.TCP.Ack
		c.pass("RST", rst)
	}
	connectAnew(c)
}

// checkMidstream lets all sessions end and sends what may still come of their connections.
func checkMidstream(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	for i, flags := range []string{"PA", "A", "FA", "R", "RA", "SA", "FPUA", ""} {
		name := flagNames(flags)
		switch flags {
		case "FPUA":
			name = "FIN/data/URG/ACK"
		case "":
			name = "no flags"
		}
		h.part(name+" from inside", func() {
			c := withoutSession(r, uint16(26001+i))
			leavesAsBeforeOrNot(c, c.segment(&c.mine, flags, "data"))
		})
	}
	h.part("data from outside", func() {
		c := withoutSession(r, 26100)
		r.notDelivered("data from outside", c.segment(&c.theirs, "PA", "data"))
	})
}

func withoutSession(r *raw, port uint16) *connection {
	c := r.established(port, r.http())
	r.h.age(30 * 24 * time.Hour)
	return c
}

func leavesAsBeforeOrNot(c *connection, p *packet.Packet) {
	c.r.sendOut(p)
	c.r.fence()
	for _, f := range c.r.beyond.seen.All(atOutside(p)) {
		switch src, _ := f.Addrs(); {
		case c.r.h.addr.inside().Contains(src):
			c.r.h.Failf("leaves with the inside address")
		case f.Source() != c.outside:
			c.r.h.Failf("leaves from another port")
		}
	}
}
