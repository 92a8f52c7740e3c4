// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// Types of IPv4 options (RFC 791 section 3.1, RFC 2113).
const (
	optionEnd          = 0
	optionRecordRoute  = 7
	optionTimestamp    = 68
	optionLooseSource  = 131
	optionStrictSource = 137
	optionRouterAlert  = 148
)

func checkOptions(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	for _, s := range p.sides() {
		h.part(s.name+", loose source route", func() { checkSourceRoute(p, s, optionLooseSource) })
		h.part(s.name+", strict source route", func() { checkSourceRoute(p, s, optionStrictSource) })
		for n := 4; n <= 40; n += 4 {
			h.wantOption(p, s, "record route", options(optionRecordRoute, append([]byte{4}, make([]byte, n-4)...), n))
			h.wantOption(p, s, "timestamp", options(optionTimestamp, append([]byte{5, 0}, make([]byte, n-4)...), n))
			h.wantOption(p, s, "router alert", options(optionRouterAlert, []byte{0, 0}, n))
		}
	}
}

func checkSourceRoute(p *path, s side, option uint8) {
	p.h.t.Helper()
	mark := p.mark()
	o := s.make(mark)
	o.IPv4.Options = options(option, []byte{4, 203, 0, 113, 1}, 8)
	s.send(o.Bytes())
	p.fence()
	s.at.none("passes", marked(mark))
}

// options is one option, its data behind type and length, filled up to n octets.
func options(option uint8, data []byte, n int) []layers.IPv4Option {
	all := []layers.IPv4Option{{OptionType: option, OptionLength: uint8(2 + len(data)), OptionData: data}}
	for used := 2 + len(data); used < n; used++ {
		all = append(all, layers.IPv4Option{OptionType: optionEnd})
	}
	return all
}

// wantOption wants a packet with options to arrive in its flow. What is in the options is the routers' to fill in.
func (h *host) wantOption(p *path, s side, name string, options []layers.IPv4Option) {
	h.part(s.name+", "+name, func() {
		mark := p.mark()
		o := s.make(mark)
		o.IPv4.Options = options
		s.send(o.Bytes())
		f := s.at.wait("packet", 1, marked(mark))[0]
		want := s.seen(mark).IPv4
		if f.Source().String() != s.sender || !f.IPv4().DstIP.Equal(want.DstIP) || f.IPv4().TTL != 63 ||
			f.WrongChecksum() != "" || string(f.UDP().Payload) != string(mark) {
			h.t.Logf("received: %s", f)
			h.Failf("the packet does not arrive in its flow, one hop on, with right checksums")
		}
	})
}
