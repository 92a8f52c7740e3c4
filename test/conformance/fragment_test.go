// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var fragmentRows = []row{
	{49, "Fragments in order pass both ways, of IPv4 and IPv6", "RFC 4787 REQ-14", "", both(checkInOrder)},
	{50, "Fragments out of order pass both ways, of IPv4 and IPv6", "RFC 4787 REQ-14", "", both(checkOutOfOrder)},
	{51, "Overlapping and tiny fragments are dropped, of IPv4 and IPv6", "RFC 1858; RFC 3128; RFC 5722; RFC 7112", "", both(checkOverlaps)},
	{52, "A flood of fragments does not hurt others, of IPv4 and IPv6", "RFC 4787 REQ-14a", "", both(checkFragmentFlood)},
	{53, "Fragments of two endpoints with one identification are not mixed up, of IPv4 and IPv6",
		"RFC 3022 section 5; RFC 6864 section 5.3.1; RFC 7857 section 10", "", both(checkSameID)},
}

func checkInOrder(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	mayFragment(h, p.client)
	mayFragment(h, p.server)
	sizes := []int{2000, 9000, 65507}
	h.part("outward", func() {
		for _, size := range sizes {
			h.send(p.client, p.remote, noise(size))
			h.wantDatagram(p.server, noise(size), p.mapped)
		}
	})
	h.part("inward", func() {
		for _, size := range sizes {
			h.send(p.server, p.mapped, noise(size))
			h.wantDatagram(p.client, noise(size), p.remote)
		}
	})
	h.part("ping", func() {
		for _, size := range sizes {
			if out, err := h.try("ns1", "ping", "-c", "1", "-W", "2", "-s", fmt.Sprint(size), h.addr.outside); err != nil {
				h.t.Log(out)
				h.Failf("no answer to one of %d octets", size)
			}
		}
	})
}

// orders of three fragments, but for the plain one.
var orders = [][]int{{2, 1, 0}, {2, 0, 1}, {1, 0, 2}, {1, 2, 0}, {0, 2, 1}}

func checkOutOfOrder(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	p.eachSide(func(s side) {
		for i, order := range orders {
			h.t.Logf("order %v", order)
			data := noise(3000 + i)
			parts := fragments(s.make(data).Bytes(), uint16(100+i), thirds...)
			for _, n := range order {
				s.send(parts[n])
			}
			h.wantDatagram(s.receiver, data, s.sender)
		}
	})
}

// overlap is a datagram in fragments that must not come to anything.
type overlap struct {
	name   string
	pieces []piece
}

var overlaps = []overlap{
	{"by 8 octets", []piece{{0, 1008}, {1000, 2000}, {2000, 0}}},
	{"one within another", []piece{{0, 1400}, {400, 1000}, {1400, 0}}},
	{"the last one", []piece{{0, 1000}, {1000, 2000}, {1992, 0}}},
	{"over the header", []piece{{0, 1000}, {8, 1008}, {1000, 2000}, {2000, 0}}},
}

func checkOverlaps(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	id := uint16(200)
	for _, s := range p.sides() {
		for _, o := range overlaps {
			for _, backwards := range []bool{false, true} {
				id++
				h.part(fmt.Sprintf("%s, overlap %s, backwards %v", s.name, o.name, backwards), func() {
					checkDropped(p, s, fragments(s.make(noise(2600)).Bytes(), id, o.pieces...), backwards)
				})
			}
		}
		id++
		h.part(s.name+", duplicate", func() { checkDuplicate(p, s, id) })
	}
	h.part("tiny first fragment", func() {
		// Ports, but no flags (RFC 1858 section 3); the second of the fragments is the one with offset 1.
		syn := tcpSYN(h)
		checkDropped(p, p.sides()[0], fragments(syn, 300, piece{0, 8}, piece{8, 0}), false)
	})
}

// checkDropped sends fragments, none of which may reach the receiver together with what makes it a datagram.
func checkDropped(p *path, s side, parts [][]byte, backwards bool) {
	p.h.t.Helper()
	before := len(s.at.All(receivedFragment))
	for i := range parts {
		if backwards {
			i = len(parts) - 1 - i
		}
		s.send(parts[i])
	}
	p.fence()
	all := s.at.All(receivedFragment)[before:]
	if overlapping(all) {
		p.h.Failf("overlapping fragments pass")
	}
	if complete(all) {
		p.h.Failf("the datagram passes")
	}
	s.at.none("the datagram passes, put together", func(f frame) bool {
		return !f.Sent && !isFragment(f) && f.TTL() > 0 && (len(f.Data()) > 2000 || f.TCP() != nil)
	})
}

// checkDuplicate sends one fragment twice. That happens by itself, so the datagram may pass; but once, and whole.
func checkDuplicate(p *path, s side, id uint16) {
	p.h.t.Helper()
	p.h.waiting(s.receiver) // what overlaps have let through
	data := noise(3000)
	parts := fragments(s.make(data).Bytes(), id, thirds...)
	for _, n := range []int{0, 1, 1, 2} {
		s.send(parts[n])
	}
	p.fence()
	passed := 0
	for _, got := range p.h.waiting(s.receiver) {
		switch {
		case bytes.HasPrefix(got, []byte("<mark ")): // the fence
		case bytes.Equal(got, data):
			passed++
		default:
			p.h.Failf("the datagram passes, changed")
		}
	}
	if passed > 1 {
		p.h.Failf("the datagram passes twice")
	}
}

// waiting takes the datagrams that a socket has got so far. It has no deadline, which a busy machine could miss.
func (h *host) waiting(at *net.UDPConn) [][]byte {
	h.t.Helper()
	raw, err := at.SyscallConn()
	if err != nil {
		h.t.Fatal(err)
	}
	var all [][]byte
	_ = at.SetReadDeadline(time.Time{})
	err = raw.Read(func(fd uintptr) bool {
		buffer := make([]byte, 1<<16)
		for {
			n, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			if err != nil {
				return true
			}
			all = append(all, bytes.Clone(buffer[:n]))
		}
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// checkSameID has ns1 and ns2 send fragments with one identification to one server, one after the other.
func checkSameID(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	other := h.udp("ns2", at(h.addr.ns2, 5000).String())
	h.send(other, p.remote, []byte("there"))
	_, mapped := h.receive(p.server, "datagram of ns2")
	for i, order := range [][]int{{0, 1, 2}, {2, 1, 0}} {
		h.part(fmt.Sprintf("order %v", order), func() {
			wanted := map[string][]byte{p.mapped: noise(3001 + i), mapped.String(): noise(3011 + i)[10:]}
			first := fragments(p.out(wanted[p.mapped]).Bytes(), 4242, thirds...)
			second := fragments(p.outOfNS2(wanted[mapped.String()]).Bytes(), 4242, thirds...)
			for _, n := range order {
				p.sendOut(first[n])
				h.inject("ns2", "veth-ns2", second[n])
			}
			// The outside cannot tell them apart otherwise; whether it mixes them up is a question of time.
			ids := map[uint32]bool{}
			for _, f := range h.atOutside.wait("fragments of both datagrams", 6*(i+1), receivedFragment)[6*i:] {
				ids[identification(f)] = true
			}
			if len(ids) != len(wanted) {
				h.Failf("both leave with one identification")
			}
			for range len(wanted) { // not over what is left of it
				got, from := h.receive(p.server, "datagram of each endpoint")
				if string(got) != string(wanted[from.String()]) {
					h.t.Logf("%d octets from %s", len(got), from)
					h.Failf("a datagram has changed")
				}
				delete(wanted, from.String())
			}
		})
	}
}
