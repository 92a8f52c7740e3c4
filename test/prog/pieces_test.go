// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"flyover/test/model"
)

// pieces is a datagram of which some fragments have been sent.
type pieces struct {
	in   model.Input
	d    draft
	next int // octets that have been sent in order
}

// Flags of the fragment field.
const moreFragments = 0x2000

// fragment is the first of a datagram or a later one, in order or not.
func (g *traffic) fragment() model.Input {
	if len(g.begun) == 0 || g.one(3) {
		return g.firstFragment()
	}
	p := pick(g.rng, g.begun)
	offset := p.next + 8*pick(g.rng, []int{0, 0, 0, 0, 0, 0, 1, 2, -1, -2})
	if offset <= 0 || g.one(40) {
		offset = 8
	}
	d := p.d
	d.body = make([]byte, 8*(1+g.rng.IntN(3)))
	if g.one(40) {
		d.body = make([]byte, 1480+g.rng.IntN(3)*8)
	}
	d.ttl, d.options, d.inner = g.ttl(), g.options(), nil
	d.fragment = uint16(offset / 8)
	if offset == p.next {
		p.next += len(d.body)
	}
	if g.one(4) {
		d.body = d.body[:len(d.body)-g.rng.IntN(8)]
	} else {
		d.fragment |= moreFragments
	}
	return p.send(g, d)
}

// send is the draft by the way of the datagram, or, now and then, by the stack.
func (p *pieces) send(g *traffic, d draft) model.Input {
	in := p.in
	if in.Hook == model.FromEndpoint && g.one(6) {
		return g.byStack(d, model.OffBridge)
	}
	in.Frame = d.frame()
	return in
}

// firstFragment begins a datagram, or begins it again. Few identifications, so that datagrams meet.
func (g *traffic) firstFragment() model.Input {
	p := &pieces{}
	key, s, ok := g.session()
	id := 1 + g.rng.IntN(2)
	switch to := g.remote(); {
	case g.one(2) && ok:
		p.in.Hook = model.FromUplink
		p.d = g.at(key.Remote.Addr(), g.w.outside)
		g.transport(&p.d, key.Proto, key.Remote.Port(), s.Outside.Port(), s.Mark, true)
	case g.one(6):
		p.in.Hook = model.FromUplink
		p.d = g.at(to.Addr(), g.w.outside)
		g.transport(&p.d, g.proto(), to.Port(), g.w.ports[0], 0, true)
	case ok && g.idOf(key.Inside.Addr()) != 0:
		id = g.idOf(key.Inside.Addr())
		p.d = g.from(id, key.Remote.Addr())
		g.transport(&p.d, key.Proto, key.Inside.Port(), key.Remote.Port(), s.Mark, false)
	default:
		p.d = g.from(id, to.Addr())
		g.transport(&p.d, g.proto(), pick(g.rng, g.insides), to.Port(), 0, false)
	}
	p.in.Endpoint = id
	p.d.id, p.d.fragment = uint32(g.rng.IntN(3)), moreFragments
	if g.w.isSix() && g.one(4) {
		p.d.inner = []extensionHeader{{60, 1 + g.rng.IntN(2)}}
	}
	p.d.body = append(p.d.body, make([]byte, -len(p.d.body)&7)...)
	p.next = len(p.d.body) + sizeOf(p.d.inner)
	if g.begun = append(g.begun, p); len(g.begun) > 4 {
		g.begun = g.begun[1:]
	}
	if g.one(5) {
		return g.fragment() // the first comes late, or never
	}
	return p.send(g, p.d)
}
