// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

// Initial sequence numbers, such that those of each side run over zero after a few octets.
const (
	insideISN  = 0xffffff80
	outsideISN = 0xffffffc0
)

// connection is a TCP connection between a container and a host outside of which the test plays both ends.
type connection struct {
	r                       *raw
	inside, remote, outside netip.AddrPort // outside: what inside is translated to, once it is known
	mine, theirs            stream         // of inside, of remote
}

// stream is one direction of a connection.
type stream struct {
	first uint32 // the initial sequence number
	next  uint32 // that of the next octet
}

// connection is one that nothing was sent of.
func (r *raw) connection(port uint16, remote netip.AddrPort) *connection {
	return &connection{
		r: r, inside: r.port(port), remote: remote,
		mine: stream{insideISN, insideISN}, theirs: stream{outsideISN, outsideISN},
	}
}

// established is a connection after the handshake and an octet each way, all acknowledged.
func (r *raw) established(port uint16, remote netip.AddrPort) *connection {
	r.h.t.Helper()
	c := r.connection(port, remote)
	c.handshake()
	return c
}

func (c *connection) handshake() {
	c.r.h.t.Helper()
	c.out("S", "")
	c.in("SA", "")
	c.out("A", "")
	c.exchange()
}

// exchange sends data both ways, the outside first, and acknowledges them.
func (c *connection) exchange() {
	c.r.h.t.Helper()
	c.in("PA", "from outside")
	c.out("PA", "from inside")
	c.in("A", "")
}

// out sends a segment from inside, which has to arrive whole and from the same outside port as those before.
func (c *connection) out(flags, data string) {
	c.r.h.t.Helper()
	c.pass(flagNames(flags), c.segment(&c.mine, flags, data))
	c.mine.advance(flags, data)
}

// in sends a segment from outside, which has to arrive whole.
func (c *connection) in(flags, data string) {
	c.r.h.t.Helper()
	c.r.in(flagNames(flags), c.segment(&c.theirs, flags, data), c.inside)
	c.theirs.advance(flags, data)
}

// pass is out for a segment that is made already, and that says nothing new.
func (c *connection) pass(what string, p *packet.Packet) {
	c.r.h.t.Helper()
	from := c.r.out(what, p)
	if c.outside.IsValid() && from != c.outside {
		c.r.h.Failf("%s leaves from another port than the connection's", what)
	}
	c.outside = from
}

// segment is one of the connection that comes next in a direction.
func (c *connection) segment(of *stream, flags, data string) *packet.Packet {
	source, destination, other := c.inside, c.remote, c.theirs
	if of == &c.theirs {
		source, destination, other = c.remote, c.outside, c.mine
	}
	p := c.r.packet(layers.IPProtocolTCP, source, destination, data)
	p.TCP.Window = 0xffff
	setFlags(p.TCP, flags)
	p.TCP.Seq, p.TCP.Ack = of.next, 0
	if p.TCP.SYN { // the first one, or again
		p.TCP.Seq = of.first
	}
	if p.TCP.ACK {
		p.TCP.Ack = other.next
	}
	return p
}

func (s *stream) advance(flags, data string) {
	n := uint32(len(data))
	if strings.ContainsAny(flags, "SF") {
		n++
	}
	if strings.Contains(flags, "S") {
		s.next = s.first
	}
	s.next += n
}

// again makes the connection a new one of the same ends, whose sequence numbers are as far on as RFC 6528 makes them.
func (c *connection) again() {
	c.mine = stream{c.mine.next + 1<<20, c.mine.next + 1<<20}
	c.theirs = stream{c.theirs.next + 1<<20, c.theirs.next + 1<<20}
}

// setFlags sets the flags named by their letters, and clears the others: F, S, R, P, A, U, E (ECE), C (CWR), N (AE of RFC 9768).
func setFlags(tcp *layers.TCP, letters string) {
	has := func(letter string) bool { return strings.Contains(letters, letter) }
	tcp.FIN, tcp.SYN, tcp.RST, tcp.PSH, tcp.ACK, tcp.URG = has("F"), has("S"), has("R"), has("P"), has("A"), has("U")
	tcp.ECE, tcp.CWR, tcp.NS = has("E"), has("C"), has("N")
}

func flagNames(letters string) string {
	names := map[rune]string{'F': "FIN", 'S': "SYN", 'R': "RST", 'P': "data", 'A': "ACK"}
	var of []string
	for _, letter := range letters {
		of = append(of, names[letter])
	}
	return strings.Join(of, "/")
}
