// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"flyover/test/packet"
	"flyover/test/wire"
)

func checkFlooding(_ *testing.T, h *host) {
	s := upOpenSegment(h)
	s.fence()
	for _, c := range []struct {
		name     string
		to       packet.MAC
		ns2, ns3 bool
	}{
		{"known", s.other, true, false}, {"its own", s.own, false, false}, {"unknown", packet.MAC{2, 0, 0, 0, 0, 9}, true, true},
	} {
		h.part(c.name, func() {
			data, match := s.frame(c.to, experimental, 60)
			s.send(data)
			s.fence()
			for _, at := range []struct {
				name string
				*capture
				want bool
			}{{"ns1", s.atNS1, false}, {"ns2", s.atNS2, c.ns2}, {"ns3", s.atNS3, c.ns3}} {
				if got := len(at.All(match)); (got > 0) != at.want || got > 1 {
					h.Failf("%d frames at %s", got, at.name)
				}
			}
		})
	}
}

// checkReserved sends as what these addresses are for, and as if they were for anything.
func checkReserved(_ *testing.T, h *host) {
	s := upSegment(h)
	for last := range byte(16) {
		to := packet.MAC{1, 0x80, 0xc2, 0, 0, last}
		h.part(macText(to), func() {
			for _, etherType := range []uint16{46, experimental, 0x8808, 0x8809, 0x888e, 0x88cc} {
				data, match := s.frame(to, etherType, 60)
				s.send(data)
				s.fence()
				s.atNS2.none("is forwarded", match)
				s.atNS3.none("is forwarded", match)
			}
		})
	}
}

// checkTags sends what is tagged to a neighbour, and to the gateway for the outside.
func checkTags(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	other := h.mac("ns2", "veth-ns2")
	for _, tag := range []struct {
		name   string
		octets []byte
		vlan   bool // and not only a priority
	}{
		{"VLAN 5", []byte{0x81, 0, 0, 5}, true}, {"priority", []byte{0x81, 0, 0x60, 0}, false},
		{"service tag", []byte{0x88, 0xa8, 0, 5}, true}, {"two tags", []byte{0x88, 0xa8, 0, 5, 0x81, 0, 0, 6}, true},
	} {
		h.part(tag.name, func() {
			mark := p.mark()
			neighbour, beyond := p.out(mark), p.out(mark)
			neighbour.Ethernet.DstMAC = other[:]
			for _, o := range []*packet.Packet{neighbour, beyond} {
				p.sendOut(slices.Insert(o.Bytes(), 12, tag.octets...))
			}
			p.fence()
			p.atNS2.none("is shown to another endpoint without its tag", func(f frame) bool { return marked(mark)(f) && !f.Tagged })
			if tag.vlan {
				h.atOutside.none("is routed", marked(mark))
			}
		})
	}
}

func checkSizes(_ *testing.T, h *host) {
	s := upSegment(h)
	h.run("ns1", "ip", "link", "set", "veth-ns1", "mtu", "9000")
	for _, c := range []struct {
		name      string
		etherType uint16
		length    int
		arrives   bool
	}{
		{"18 octets", experimental, 18, true}, {"59 octets", experimental, 59, true}, {"1514 octets", experimental, 1514, true},
		{"IPX", 0x8137, 100, true}, {"EAPOL", 0x888e, 100, true}, {"MPLS", 0x8847, 100, true},
		{"1515 octets", experimental, 1515, false}, {"1518 octets", experimental, 1518, false},
		{"1519 octets", experimental, 1519, false}, {"9014 octets", experimental, 9014, false},
	} {
		h.part(c.name, func() {
			data, match := s.frame(s.other, c.etherType, c.length)
			// The pair itself refuses what is far too large.
			if err := wire.Inject("ns1", "veth-ns1", data); err != nil && (c.arrives || !errors.Is(err, unix.ENOBUFS)) {
				h.t.Fatal(err)
			}
			s.fence()
			got := s.atNS2.All(match)
			if (len(got) > 0) != c.arrives {
				h.Failf("%d arrive", len(got))
			}
			if c.arrives && !bytes.Equal(got[0].Data()[:len(data)], data) {
				h.Failf("arrives changed")
			}
		})
	}
}
