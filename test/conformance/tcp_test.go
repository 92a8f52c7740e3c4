// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
)

var tcpRows = []row{
	{
		number:      20,
		requirement: "all valid sequences of TCP packets pass, simultaneous open too, of IPv4 and IPv6",
		source:      "RFC 5382 REQ-2",
		check:       both(checkTCPSequences),
	},
	{
		number:      21,
		requirement: "an unsolicited SYN is not answered for 6 s, and dropped if the inside opens that connection, of IPv4 and IPv6",
		source:      "RFC 5382 REQ-4",
		check:       both(checkUnsolicitedSYN),
	},
	{
		number:      22,
		requirement: "TCP sessions live 7440 s when established, half-closed too, and 240 s when opening or closing, of IPv4 and IPv6",
		source:      "RFC 5382 REQ-5, RFC 7857 section 2.1",
		check:       both(checkTCPTimers),
	},
	{
		number:      23,
		requirement: "a RST passes, and the session is kept 240 s unless the RST is proven, of IPv4 and IPv6",
		source:      "RFC 7857 section 2.2",
		check:       both(checkUnprovenRST),
	},
	{
		number:      24,
		requirement: "a blind RST or SYN does not end a TCP session, of IPv4 and IPv6",
		source:      "RFC 5961 sections 3 and 4",
		check:       both(checkBlindSegments),
	},
	{
		number:      25,
		requirement: "the same ends can connect again at once, and an old SYN/ACK does no harm, of IPv4 and IPv6",
		source:      "RFC 9293 section 3.6.1, RFC 5382 REQ-2",
		check:       both(checkTupleReuse),
	},
	{
		number:      26,
		requirement: "TCP packets without a session leave from their port as before, or not at all, of IPv4 and IPv6",
		source:      "RFC 3022 section 4",
		check:       both(checkMidstream),
	},
	{
		number:      27,
		requirement: "TCP options, flags and data are not touched, of IPv4 and IPv6",
		source:      "RFC 9293 section 3.1, RFC 5382 REQ-2",
		check:       both(checkTCPUntouched),
	},
}

// http is where the container connects to.
func (r *raw) http() netip.AddrPort { return at(r.h.addr.peer, 80) }

func checkTCPSequences(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	h.part("handshake with lost segments", func() { handshakeWithLosses(r) })
	h.part("simultaneous open", func() { simultaneousOpen(r) })
	h.part("half-close by the inside", func() {
		c := r.established(20003, r.http())
		c.out("FA", "")
		c.in("A", "")
		c.in("PA", "more")
		c.out("A", "")
		c.in("FA", "")
		c.out("A", "")
	})
	h.part("half-close by the outside", func() {
		c := r.established(20004, r.http())
		c.in("FA", "")
		c.out("A", "")
		c.out("PA", "more")
		c.in("A", "")
		c.out("FA", "")
		c.in("A", "")
	})
	h.part("simultaneous close", func() { simultaneousClose(r) })
	h.part("refused connection", func() {
		c := r.connection(20006, r.http())
		c.out("S", "")
		c.theirs = stream{}
		c.in("RA", "")
	})
	h.part("connection from outside", func() { fromOutside(r) })
}

// handshakeWithLosses sends everything twice, as after losses.
func handshakeWithLosses(r *raw) {
	c := r.connection(20001, r.http())
	c.out("S", "")
	c.out("S", "")
	c.in("SA", "")
	c.in("SA", "")
	c.out("A", "")
	c.out("A", "")
	c.exchange()
}

// simultaneousOpen is figure 7 of RFC 9293. Its session then has the timers of an established one.
func simultaneousOpen(r *raw) {
	c := r.connection(20002, r.http())
	c.out("S", "")
	c.in("S", "")
	c.out("SA", "")
	c.in("SA", "")
	c.exchange()
	r.h.age(almostEstablished)
	c.exchange()
}

// simultaneousClose is figure 13 of RFC 9293: neither FIN acknowledges the other.
func simultaneousClose(r *raw) {
	c := r.established(20005, r.http())
	theirs := c.segment(&c.theirs, "FA", "")
	c.out("FA", "")
	r.in("FIN/ACK", theirs, c.inside)
	c.theirs.advance("F", "")
	c.out("A", "")
	c.in("A", "")
}

// fromOutside connects to a mapped port from another port of a host that the inside has talked to. A filter may forbid that; what
// it lets in has to work (RFC 5382 REQ-2).
func fromOutside(r *raw) {
	first := r.established(20007, r.http())
	c := r.connection(20007, at(r.h.addr.peer, 8080))
	c.outside = first.outside
	if !r.delivered(c.segment(&c.theirs, "S", "")) {
		return
	}
	c.in("S", "")
	c.out("SA", "")
	c.in("A", "")
	c.exchange()
	r.h.age(almostEstablished)
	c.exchange()
}

func checkUnsolicitedSYN(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	start := time.Now()
	unused := r.packet(layers.IPProtocolTCP, at(h.addr.other, 443), at(h.addr.uplink, 20000), "")
	setFlags(unused.TCP, "S")
	r.sendIn(unused)
	h.part("SYN before the connection", func() { synBeforeConnection(r, start) })
	h.part("SYN to an unused port", func() {
		time.Sleep(time.Until(start.Add(6 * time.Second))) // what must not happen is not known to be over any earlier
		r.fence()
		r.beyond.seen.none("an answer within 6 s", func(f frame) bool {
			_, dst := f.Addrs()
			return !f.Sent && dst.String() == h.addr.other && (f.Message() != nil || f.TCP() != nil && f.TCP().DstPort == 443)
		})
		r.inside.seen.none("the SYN is delivered", atInside(unused))
	})
}

// synBeforeConnection has the outside send a SYN to a port of the inside, and 3 s later the inside open that connection.
func synBeforeConnection(r *raw, start time.Time) {
	first := r.established(21000, r.http())
	c := r.connection(21000, at(r.h.addr.other, 80))
	c.outside = first.outside
	early := c.segment(&c.theirs, "S", "")
	r.notDelivered("the unsolicited SYN", early)
	r.beyond.seen.none("an answer to the unsolicited SYN", flow(at(r.h.addr.uplink, 0).String(), c.remote.String()))
	time.Sleep(time.Until(start.Add(3 * time.Second)))
	c.outside = first.outside
	c.handshake()
	r.fence()
	r.inside.seen.none("the unsolicited SYN is delivered later", atInside(early))
}
