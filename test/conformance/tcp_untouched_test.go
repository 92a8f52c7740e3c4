// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

func checkTCPUntouched(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	h.part("SYN", func() {
		c := r.connection(27001, r.http())
		untouchedBothWays(c, "SECN", "SAEN", "data of TCP Fast Open", synOptions)
	})
	h.part("SYN with options that nobody knows", func() {
		c := r.connection(27002, r.http())
		untouchedBothWays(c, "S", "SA", "", oddOptions)
	})
	h.part("flags", func() { allFlags(r) })
	h.part("options of data", func() {
		c := r.established(27004, r.http())
		untouchedBothWays(c, "PAU", "PAU", "urgent data", dataOptions)
	})
	h.part("IP header", func() { ipHeader(r) })
}

// untouchedBothWays sends a segment with options out, and one in.
func untouchedBothWays(c *connection, out, in, data string, options []layers.TCPOption) {
	p := decorated(c.segment(&c.mine, out, data), options)
	c.outside = c.r.out("segment", p)
	c.mine.advance(out, data)
	c.r.in("segment", decorated(c.segment(&c.theirs, in, data), options), c.inside)
	c.theirs.advance(in, data)
}

func decorated(p *packet.Packet, options []layers.TCPOption) *packet.Packet {
	p.TCP.Options = options
	if p.TCP.URG {
		p.TCP.Urgent = 3
	}
	return p
}

// allFlags are all that may stand beside ACK on an established connection.
func allFlags(r *raw) {
	c := r.established(27003, r.http())
	for set := range 1 << 5 {
		flags := "A"
		for bit, letter := range "PUECN" {
			if set>>bit&1 > 0 {
				flags += string(letter)
			}
		}
		untouchedBothWays(c, flags, flags, fmt.Sprint(set), nil)
	}
}

// ipHeader has what translation leaves alone: the DSCP and all values of ECN.
func ipHeader(r *raw) {
	c := r.established(27005, r.http())
	for ecn := range uint8(4) {
		p := c.segment(&c.mine, "A", "")
		classify(p, 0x2e<<2|ecn)
		c.pass("segment", p)
		p = c.segment(&c.theirs, "A", "")
		classify(p, 0x0a<<2|ecn)
		r.in("segment", p, c.inside)
	}
}

// classify sets the octet of DSCP and ECN.
func classify(p *packet.Packet, class uint8) {
	if p.IPv6 != nil {
		p.IPv6.TrafficClass = class
		return
	}
	p.IPv4.TOS = class
}

func option(kind layers.TCPOptionKind, data ...byte) layers.TCPOption {
	length := uint8(2 + len(data))
	if kind <= layers.TCPOptionKindNop {
		length = 1
	}
	return layers.TCPOption{OptionType: kind, OptionLength: length, OptionData: data}
}

// Kinds of TCP options that the packet library has no name for.
const (
	kindFastOpen   = 34
	kindAccECN     = 172
	kindExperiment = 253
)

var (
	synOptions = []layers.TCPOption{
		option(layers.TCPOptionKindMSS, 0x05, 0xb4),
		option(layers.TCPOptionKindSACKPermitted),
		option(layers.TCPOptionKindTimestamps, 1, 2, 3, 4, 5, 6, 7, 8),
		option(layers.TCPOptionKindNop),
		option(layers.TCPOptionKindWindowScale, 7),
		option(kindFastOpen, 1, 2, 3, 4, 5, 6, 7, 8),
	}
	oddOptions = []layers.TCPOption{
		option(kindExperiment, 0xf9, 0x89, 1, 2, 3),
		option(layers.TCPOptionKindNop), option(layers.TCPOptionKindNop),
		option(77, 1, 2, 3),
	}
	dataOptions = []layers.TCPOption{
		option(layers.TCPOptionKindNop),
		option(layers.TCPOptionKindTimestamps, 1, 2, 3, 4, 5, 6, 7, 8),
		option(layers.TCPOptionKindNop),
		option(kindAccECN, 0, 0, 1, 0, 0, 2, 0, 0, 3),
		option(layers.TCPOptionKindSACK, 0, 0, 1, 0, 0, 0, 2, 0),
	}
)
