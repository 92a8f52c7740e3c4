// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

// checkTOS sends each value of the octet that DSCP and ECN share both ways, and to a neighbour.
func checkTOS(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	p.eachSide(func(s side) { h.wantTOS(p, s.make, s.at, s.send) })
	h.part("bridged", func() {
		h.wantTOS(p, func(payload []byte) *packet.Packet {
			ends := h.ends(h.mac("ns1", "veth-ns1"), h.mac("ns2", "veth-ns2"), p.inside, p.neighbour)
			return packet.New(layers.IPProtocolUDP, ends, payload)
		}, p.atNS2, p.sendOut)
	})
}

func (h *host) wantTOS(p *path, of func(payload []byte) *packet.Packet, at *capture, send func(data []byte)) {
	h.t.Helper()
	mark := p.mark()
	for tos := range 256 {
		o := of(append(mark[:len(mark):len(mark)], byte(tos)))
		o.IPv4.TOS = uint8(tos)
		send(o.Bytes())
	}
	for _, f := range at.wait("packet of each TOS value", 256, marked(mark)) {
		if got, want := f.IPv4().TOS, f.UDP().Payload[len(mark)]; got != want {
			h.t.Logf("TOS %02x, want %02x", got, want)
			h.Failf("TOS is changed")
		}
	}
}
