// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"slices"

	"flyover/test/model"
	"flyover/test/packet"
)

// stationMAC is nobody's by configuration.
var stationMAC = packet.MAC{0x02, 0xf1, 0, 0, 0, 0x77}

// macs are those that a frame may come from or be for.
func (g *traffic) macs() []packet.MAC {
	all := []packet.MAC{stationMAC, stationMAC, gatewayMAC, outsideMAC, packet.Broadcast}
	for _, e := range g.w.endpoints[1:] {
		all = append(all, e.mac)
	}
	return all
}

// stranger is what stations behind an endpoint send, and forgers: what the guard of another endpoint refuses.
func (g *traffic) stranger() model.Input {
	id := 1 + g.rng.IntN(3)
	to := []netip.Addr{g.remote().Addr(), g.w.addrOf(1), g.w.addrOf(2), g.w.addrOf(3), g.w.gateway, g.w.nobody, g.w.elsewhereAddr, last(g.w.exempt)}
	if id == 3 { // what its network has routes to is not the model's business
		to = []netip.Addr{g.w.addrOf(3), g.w.nobody}
	}
	d := g.from(id, pick(g.rng, to))
	d.from, d.to = pick(g.rng, g.macs()), pick(g.rng, append(g.macs(), gatewayMAC, gatewayMAC))
	if g.one(3) {
		d.from = stationMAC
	}
	d.src = pick(g.rng, []netip.Addr{d.src, g.w.nobody, g.w.nobody, g.w.nobody, g.w.gateway, g.w.addrOf(1 + g.rng.IntN(3)), g.somewhere(), g.w.outside,
		g.linkLocal(stationMAC), g.linkLocal(gatewayMAC)})
	g.transport(&d, g.proto(), pick(g.rng, g.insides), g.remote().Port(), g.rng.Uint32(), false)
	in := g.sentBy(id, d)
	if g.one(8) {
		in.Frame = slices.Insert(in.Frame, 12, pick(g.rng, [][]byte{{0x81, 0, 0, 5}, {0x81, 0, 0xe0, 0}, {0x88, 0xa8, 0x10, 0}, {0, 60, 0xaa, 0xaa}})...)
	}
	return in
}

// linkLocal is the link-local address that the MAC makes; of IPv4 it is somebody's far away.
func (g *traffic) linkLocal(mac packet.MAC) netip.Addr {
	if g.w.isSix() {
		return packet.LinkLocal(mac)
	}
	return g.somewhere()
}
