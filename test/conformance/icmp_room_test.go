// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

// room is how many flows there is room for. The kernel's own forwarding has no such limit, but it gives a flow from a port below
// 512 another one below 512, as long as one is free towards its destination.
const (
	room       = 8
	linuxPorts = 511
)

// Ports of the flows that are refused.
const (
	refusedPort = 300
	floodPort   = 301
)

func checkNoRoom(_ *testing.T, h *host) {
	refused := h.protocols()
	if h.ebpf {
		h.up(fmt.Sprintf("limits: {mappings: %d}", room))
	} else {
		h.upDefault()
		refused = refused[1:2] // UDP: each protocol has ports of its own
	}
	r := h.raw("ns1")
	fillRoom(r)
	for _, proto := range refused {
		h.part(proto.name, func() { wantProhibited(r, proto.number) })
	}
	h.part("rate limit", func() { wantFewAnswers(r) })
}

// fillRoom makes flows until there is no room for another one to the peer.
func fillRoom(r *raw) {
	fill := func(from *raw, port int) {
		from.sendOut(from.packet(layers.IPProtocolUDP, from.port(uint16(port)), at(r.h.addr.peer, 7000), ""))
	}
	if r.h.ebpf {
		for port := range room {
			fill(r, 33001+port)
		}
		return
	}
	ns2 := r.h.raw("ns2")
	for port := range linuxPorts {
		fill(ns2, 1+port)
	}
}

// wantProhibited sends the first packet of another flow, which the gateway has to answer, and not to let out.
func wantProhibited(r *raw, proto layers.IPProtocol) {
	r.h.t.Helper()
	p := r.packet(proto, r.port(refusedPort), at(r.h.addr.peer, 7000), "sixteen octets..")
	if p.TCP != nil {
		setFlags(p.TCP, "S")
	}
	r.sendOut(p)
	prohibited := r.h.icmp().prohibited
	answer := r.arrived(fmt.Sprintf("%v at the container", prohibited), r.inside.seen, r.prohibits(p))
	if src, _ := answer.Addrs(); src.String() != r.h.addr.gateway || answer.WrongChecksum() != "" {
		r.h.t.Logf("the answer: %s", answer)
		r.h.Failf("%v is not from the gateway, or wrong", prohibited)
	}
	r.beyond.seen.none("the refused packet at the outside", atOutside(p))
}

// prohibits matches the answer to a packet: an error that quotes it as it was sent, up to its ports or identifier, but for what a router
// has changed: the time to live, and the checksum.
func (r *raw) prohibits(p *packet.Packet) func(frame) bool {
	header := r.h.addr.header()
	comparable := func(quote []byte) string {
		c := slices.Clone(quote[:header+8])
		if r.h.addr.six() {
			c[7] = 0
		} else {
			clear(c[8:12])
		}
		return string(c)
	}
	sent := comparable(octets(p, header+8))
	return func(f frame) bool {
		return isMessage(r.h.icmp().prohibited)(f) && len(f.Message().Payload) >= header+8 && comparable(f.Message().Payload) == sent
	}
}

// wantFewAnswers sends refused packets faster than a sensible limit, 1000 a second and as many at once, and counts the answers.
func wantFewAnswers(r *raw) {
	const flood, perSecond = 5000, 1000
	isProhibited := isMessage(r.h.icmp().prohibited)
	before := len(r.inside.seen.All(isProhibited))
	p := r.packet(layers.IPProtocolUDP, r.port(floodPort), at(r.h.addr.peer, 7000), "")
	address(p, r.inside.own, r.inside.next)
	data := p.Bytes()
	start := time.Now()
	for range flood {
		r.inside.send(r.h, data)
	}
	took := time.Since(start)
	if r.h.ebpf { // ns1 has no room for a fence
		r.h.fence("ns2")
	} else {
		r.fence()
	}
	r.beyond.seen.none("a refused packet at the outside", atOutside(p))
	answers := len(r.inside.seen.All(isProhibited)) - before
	r.h.t.Logf("%d answers to %d packets in %v", answers, flood, took)
	if answers > perSecond+int(took.Seconds()*perSecond) {
		r.h.Failf("each refused packet is answered")
	}
	if before+answers == 0 {
		r.h.Failf("no answers at all")
	}
}
