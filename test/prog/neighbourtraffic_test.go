// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"slices"

	"flyover/test/model"
	"flyover/test/packet"
)

// neighbour is a message of neighbour discovery, right or nearly so. IPv4 has ARP for it, which other tests are about.
func (g *traffic) neighbour() model.Input {
	if !g.w.isSix() {
		return g.strange()
	}
	id := 1 + g.rng.IntN(3)
	own := g.w.endpoints[id]
	others := []netip.Addr{own.addr6, packet.LinkLocal(own.mac), gateway6, packet.LinkLocal(gatewayMAC), nobody6, netip.IPv6LinkLocalAllNodes(),
		netip.IPv6Unspecified()}
	for _, e := range g.w.endpoints[1:] {
		others = append(others, e.addr6, packet.LinkLocal(e.mac))
	}
	target := pick(g.rng, others)
	group, groupMAC := packet.SolicitedNode(target)
	d := draft{to: groupMAC, from: own.mac, etherType: 0x86dd, ttl: 255, src: own.addr6, dst: group}
	switch g.rng.IntN(4) {
	case 0:
		d.src = packet.LinkLocal(own.mac)
	case 1:
		d.src = netip.IPv6Unspecified()
	}
	if g.one(4) {
		d.to, d.dst = gatewayMAC, gateway6
	}
	if g.one(6) {
		d.from = pick(g.rng, g.macs())
		own.mac, d.src = d.from, pick(g.rng, append(others, packet.LinkLocal(stationMAC)))
	}
	kind, code := pick(g.rng, []uint8{135, 135, 135, 135, 135, 136, 136, 133, 134, 137, 143}), uint8(0)
	body := slices.Concat(target.AsSlice(), g.ndOptions(own))
	switch g.rng.IntN(20) {
	case 0:
		d.ttl = g.ttl()
	case 1:
		code = 1
	case 2:
		d.src = pick(g.rng, others)
	case 3:
		d.chain = g.chain()
	case 4:
		d.fragment, d.id = 0, 1
		d.chain = []extensionHeader{{44, 1}}
	case 5:
		body = body[:g.rng.IntN(len(body))]
	}
	d.icmp(kind, code, g.rng.Uint32(), body)
	if g.one(20) {
		d.body[2]++
	}
	return g.sentBy(id, d)
}

// ndOptions are mostly the endpoint's MAC, or none.
func (g *traffic) ndOptions(own endpoint) []byte {
	var all []byte
	for range pick(g.rng, []int{0, 0, 1, 1, 1, 1, 2, 3, 15, 16}) {
		switch mac := own.mac; g.rng.IntN(12) {
		case 0:
			mac[g.rng.IntN(6)]++
			all = append(all, packet.LinkLayer(packet.SourceLinkLayer, mac)...)
		case 1:
			all = append(all, packet.LinkLayer(packet.TargetLinkLayer, mac)...)
		case 2:
			all = append(all, append([]byte{1, 2}, make([]byte, 14)...)...)
		case 3:
			all = append(all, 14, uint8(g.rng.IntN(3)), 1, 2, 3, 4, 5, 6)
		case 4, 5, 6:
			all = append(all, 14, 1, 1, 2, 3, 4, 5, 6)
		default:
			all = append(all, packet.LinkLayer(packet.SourceLinkLayer, mac)...)
		}
	}
	return all
}
