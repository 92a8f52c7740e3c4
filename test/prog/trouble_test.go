// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net/netip"

	"flyover/test/model"
	"flyover/test/packet"
)

// The traffic that is not simply out and back: errors, the slow path, hairpins, forgeries and broken packets.

// quoted is what an error quotes of a packet from src to dst.
func (g *traffic) quoted(proto uint8, src, dst netip.AddrPort, in bool) []byte {
	d := draft{etherType: g.w.etherType, ttl: 60, id: 7, src: src.Addr(), dst: dst.Addr(), options: g.options(), chain: g.chain()}
	g.transport(&d, proto, src.Port(), dst.Port(), 5, in)
	b := d.frame()[14:]
	least := d.headers() + 8
	switch {
	case g.one(3):
		b = b[:least]
	case g.one(10):
		b = b[:g.rng.IntN(least)]
	case g.one(10): // RFC 4884: padded to 128 octets, and an extension behind
		b = append(append(b, make([]byte, max(0, 128-len(b)))...), 0x20, 0, 0xdf, 0xff, 0, 8, 1, 1, 0, 1, 2, 3)
	}
	if g.one(12) && len(b) > 0 {
		b[g.rng.IntN(len(b))] ^= byte(1 << g.rng.IntN(8))
	}
	return b
}

// complaint gives the draft an error about the quotation; the frame may go on behind it.
func (g *traffic) complaint(d *draft, quoted []byte) []byte {
	kinds := []uint8{3, 3, 3, 11, 12, 4, 5}
	if g.w.isSix() {
		kinds = []uint8{1, 1, 2, 2, 3, 4, 5, 100, 130}
	}
	d.icmp(pick(g.rng, kinds), uint8(g.rng.IntN(5)), 1400, quoted)
	if g.one(15) {
		d.body[2]++
	}
	frame := d.frame()
	if g.one(10) {
		frame = append(frame, make([]byte, 30)...)
	}
	return frame
}

// errorIn is from a router about a packet of a session.
func (g *traffic) errorIn() model.Input {
	key, s, ok := g.session()
	if !ok {
		return g.unsolicited()
	}
	to, about := s.Outside, key.Remote
	switch {
	case g.one(10):
		to = netip.AddrPortFrom(to.Addr(), to.Port()+1)
	case g.one(10):
		about = g.remote()
	}
	d := g.at(pick(g.rng, []netip.Addr{g.w.router, about.Addr()}), g.w.outside)
	if g.one(20) {
		d.dst = g.w.nextHop
	}
	return model.Input{Hook: model.FromUplink, Frame: g.complaint(&d, g.quoted(key.Proto, to, about, false))}
}

// errorOut is from an endpoint, or the host, about a reply; by the fast path it is about a hairpin.
func (g *traffic) errorOut() model.Input {
	key, _, ok := g.session()
	if !ok {
		return g.anyOut()
	}
	q := g.quoted(key.Proto, key.Remote, key.Inside, true)
	id := g.idOf(key.Inside.Addr())
	if id == 0 || g.one(4) {
		d := draft{to: outsideMAC, from: g.w.uplinkMAC, etherType: g.w.etherType, ttl: 64, src: g.w.outside, dst: key.Remote.Addr()}
		return model.Input{Hook: model.ToUplink, Came: model.FromHost, Frame: g.complaint(&d, q)}
	}
	d := g.from(id, key.Remote.Addr())
	frame := g.complaint(&d, q)
	if key.Remote.Addr() == g.w.outside || g.one(3) {
		return model.Input{Hook: model.FromEndpoint, Endpoint: id, Frame: frame}
	}
	return model.Input{Hook: model.ToUplink, Came: model.OffBridge, Frame: frame}
}

func (g *traffic) byStack(d draft, came model.Came) model.Input {
	d.to, d.from = outsideMAC, g.w.uplinkMAC
	return model.Input{Hook: model.ToUplink, Came: came, Frame: d.frame()}
}

// slow is what the stack sends to the uplink, of the inside, of the host, or of neither.
func (g *traffic) slow() model.Input {
	to := g.remote()
	d := g.from(1+g.rng.IntN(2), to.Addr())
	came := model.OffBridge
	switch g.rng.IntN(12) {
	case 0:
		came = model.FromElsewhere
	case 1, 2, 3:
		d.src, came = g.w.gateway, model.FromHost
	case 4:
		d.src, came = g.w.outside, model.FromHost
	case 5:
		d.src = g.w.nobodyInside
	}
	g.transport(&d, g.proto(), pick(g.rng, g.insides), to.Port(), g.rng.Uint32(), false)
	return g.byStack(d, came)
}

// hairpin is to an outside port that is mostly somebody's.
func (g *traffic) hairpin() model.Input {
	id := 1 + g.rng.IntN(2)
	d := g.from(id, g.w.outside)
	port, mark := g.w.ports[0]-1+uint16(g.rng.IntN(12)), g.rng.Uint32()
	if _, s, ok := g.session(); ok {
		port, mark = s.Outside.Port(), s.Mark
	}
	g.transport(&d, pick(g.rng, []uint8{6, 6, 17, 17, 1}), pick(g.rng, g.insides), port, mark, g.one(2))
	return g.sentBy(id, d)
}

// strange is for the guard and the bridge, and of protocols without ports.
func (g *traffic) strange() model.Input {
	id := 1 + g.rng.IntN(3)
	d := g.from(id, pick(g.rng, []netip.Addr{g.w.remotes[0], g.w.elsewhereAddr, g.w.gateway, g.w.nobody, g.w.group}))
	g.transport(&d, g.proto(), 1000, 53, 0, false)
	switch g.rng.IntN(10) {
	case 0:
		d.to = pick(g.rng, []packet.MAC{g.w.endpoints[1].mac, g.w.endpoints[2].mac, g.w.endpoints[3].mac, packet.Broadcast, outsideMAC,
			{0x01, 0x80, 0xc2, 0, 0, 0x02}, {0x01, 0x80, 0xc2, 0, 0, 0x20}})
	case 1:
		d.from = outsideMAC
	case 2:
		d.src = g.w.addrOf(1 + g.rng.IntN(3))
	case 3:
		d.etherType = pick(g.rng, []uint16{0x8100, 0x88a8, 0x0100, 0x86dd, 0x0800, 0x8847})
	case 4, 5:
		d.proto = pick(g.rng, []uint8{47, 132, 255, 2})
	case 6:
		id = 0
	case 7:
		d.src, d.to = g.w.remotes[0], g.w.uplinkMAC
		return model.Input{Hook: model.FromUplink, Frame: d.frame()}
	}
	return g.sentBy(id, d)
}

// mutate breaks a frame, often so that what is looked at first is still right.
func (g *traffic) mutate(frame []byte) []byte {
	for range 1 + g.rng.IntN(3) {
		switch at := g.rng.IntN(len(frame)); g.rng.IntN(10) {
		case 0, 1, 2:
			frame[at] ^= byte(1 << g.rng.IntN(8))
		case 3:
			frame[at] = byte(g.rng.Uint32())
		case 4:
			frame[at] = pick(g.rng, []byte{0, 0xff})
		case 5, 6: // in the headers
			frame[14+g.rng.IntN(min(8+g.w.baseHeader(), len(frame)-14))] = byte(g.rng.Uint32())
		case 7:
			frame = frame[:max(14+g.w.baseHeader(), at)]
		case 8:
			frame = append(frame, make([]byte, g.rng.IntN(64))...)
		case 9:
			if len(frame) >= 34 {
				length := frame[16:18]
				if g.w.isSix() {
					length = frame[18:20]
				}
				total := int(binary.BigEndian.Uint16(length)) - 2 + g.rng.IntN(4) - g.rng.IntN(2)*g.rng.IntN(20)
				binary.BigEndian.PutUint16(length, uint16(total))
			}
		}
	}
	if !g.w.isSix() && !g.one(4) {
		mend(frame)
	}
	return frame
}
