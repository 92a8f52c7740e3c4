// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"

	"flyover/test/model"
)

// traffic makes packets that mean something to the sessions that there are: few remotes, few ports, and much that goes wrong.
type traffic struct {
	rng *rand.Rand
	w   *family
	// What is drawn from.
	insides []uint16
	remotes []netip.AddrPort
	// begun are the last datagrams that were sent in fragments.
	begun []*pieces
}

func newTraffic(rng *rand.Rand, w *family) *traffic {
	first, last := w.ports[0], w.ports[1]
	g := &traffic{rng: rng, w: w}
	g.insides = []uint16{0, 7, 67, 1000, 1001, first - 1, first, first + 1, first + 3, last, last + 1, 65535}
	for _, a := range w.remotes {
		for _, port := range []uint16{0, 53, 443} {
			g.remotes = append(g.remotes, netip.AddrPortFrom(a, port))
		}
	}
	return g
}

func pick[T any](rng *rand.Rand, of []T) T { return of[rng.IntN(len(of))] }

// one says yes one time in n.
func (g *traffic) one(n int) bool { return g.rng.IntN(n) == 0 }

// kinds are the ways to make a packet, each as often as it stands here.
var kinds = func() []func(*traffic) model.Input {
	var all []func(*traffic) model.Input
	for _, k := range []struct {
		weight int
		make   func(*traffic) model.Input
	}{
		{14, (*traffic).anyOut}, {20, (*traffic).sessionOut}, {26, (*traffic).reply}, {8, (*traffic).unsolicited},
		{8, (*traffic).errorIn}, {4, (*traffic).errorOut}, {8, (*traffic).slow}, {5, (*traffic).hairpin},
		{3, (*traffic).strange}, {6, (*traffic).fragment}, {4, (*traffic).neighbour}, {5, (*traffic).between},
		{6, (*traffic).stranger},
	} {
		for range k.weight {
			all = append(all, k.make)
		}
	}
	return all
}()

// next is the next packet.
func (g *traffic) next() model.Input {
	for {
		in := pick(g.rng, kinds)(g)
		if g.one(8) {
			in.Frame = g.mutate(in.Frame)
		}
		if g.isFit(in) {
			return in
		}
	}
}

// isFit leaves out what other tests are about, and what the stack would never send to the uplink.
func (g *traffic) isFit(in model.Input) bool {
	f := in.Frame
	etherType := binary.BigEndian.Uint16(f[12:])
	if etherType == 0x0806 || etherType == 0x86dd && len(f) < 14+40 { // the latter BPF_PROG_RUN refuses
		return false
	}
	switch {
	case in.Hook != model.ToUplink:
		return true
	case len(f) >= 34 && etherType == 0x0800:
		return addresses4.leadsOut(netip.AddrFrom4([4]byte(f[30:34])))
	case etherType == 0x86dd:
		return addresses6.leadsOut(netip.AddrFrom16([16]byte(f[38:54])))
	}
	return true
}

func (g *traffic) proto() uint8 { return pick(g.rng, []uint8{1, 6, 6, 6, 17, 17}) }

func (g *traffic) ttl() uint8 {
	return pick(g.rng, []uint8{64, 64, 64, 64, 64, 64, 64, 255, 128, 2, 1, 0})
}

// payload is short, and sometimes as large as the MTU lets it be, or a little more.
func (g *traffic) payload() []byte {
	n := g.rng.IntN(24)
	if g.one(60) {
		n = 1500 - 48 + g.rng.IntN(24)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

// someOptions are router alert, none, source and record routes, and broken ones.
var someOptions = [][]byte{{148, 4, 0, 0}, {1, 1, 1, 0}, {131, 3, 4, 0}, {1, 137, 3, 4}, {7, 7, 4, 0, 0, 0, 0, 0}, {148, 1, 0, 0},
	{148, 9, 0, 0}, {1, 1, 1, 148}, {0, 131, 3, 4}}

func (g *traffic) options() []byte {
	if g.one(30) {
		return pick(g.rng, someOptions)
	}
	return nil
}

// someChains are extension headers that are walked over, too many, hop-by-hop ones, and broken ones.
var someChains = [][]extensionHeader{
	{{60, 1}}, {{60, 1}}, {{60, 2}, {60, 1}}, {{60, 1}, {43, 1}, {60, 1}}, {{51, 2}}, {{135, 1}}, {{0, 1}}, {{0, 1}, {60, 1}}, {{60, 1}, {0, 1}},
	{{60, 16}, {60, 1}}, {{60, 22}}, {{60, 32}}, {{60, 32}, {60, 32}}, {{43, 0}}, {{44, 1}}, {{44, 1}, {44, 1}}, {{60, 24}, {44, 1}},
	{{60, 25}, {44, 1}}, slices.Repeat([]extensionHeader{{60, 1}}, 7), slices.Repeat([]extensionHeader{{60, 1}}, 8),
	slices.Repeat([]extensionHeader{{60, 1}}, 9),
}

// chain is of IPv6 what options are of IPv4.
func (g *traffic) chain() []extensionHeader {
	if g.one(12) {
		return pick(g.rng, someChains)
	}
	return nil
}

var someFlags = []uint8{16, 16, 16, 16, 16, 16, 2, 2, 2, 18, 18, 18, 17, 17, 17, 1, 4, 20, 24, 6, 3, 0, 0xc2}

func (g *traffic) flags() uint8 {
	if g.one(10) {
		return uint8(g.rng.Uint32())
	}
	return pick(g.rng, someFlags)
}

// aboutNumbers is around 0 and around what is far and near: 2^20 ahead, 2^16 behind.
var aboutNumbers = []uint32{0, 0, 0, 0, 0, 1, 1000, 1<<20 - 1, 1 << 20, ^uint32(0), ^uint32(1<<16 - 1), ^uint32(1 << 16)}

// near is a number at, about, or far from the one that is expected.
func (g *traffic) near(n uint32) uint32 {
	if g.one(10) {
		return g.rng.Uint32()
	}
	return n + pick(g.rng, aboutNumbers)
}

// transport gives the draft a header of proto, between the ports, about the session if there is one.
func (g *traffic) transport(d *draft, proto uint8, sport, dport uint16, mark uint32, in bool) {
	switch proto {
	case 6:
		seq, ack := g.near(0x1000), g.near(mark)
		if in {
			seq, ack = g.near(mark), g.near(mark)
		}
		d.tcp(sport, dport, g.flags(), seq, ack, g.payload())
	case 17:
		d.udp(sport, dport, g.payload())
		if g.one(10) {
			d.body[6], d.body[7] = 0, 0
		}
	default:
		asks, answers, any := []uint8{8, 8, 8, 13}, []uint8{0, 0, 0, 14}, uint8(g.rng.IntN(20))
		if g.w.isSix() {
			asks, answers, any = []uint8{128}, []uint8{129}, pick(g.rng, []uint8{1, 2, 3, 4, 5, 127, 130, 131, 133, 135, 137, 143})
		}
		kind, id := pick(g.rng, asks), sport
		if in {
			kind, id = pick(g.rng, answers), dport
		}
		if g.one(20) {
			kind = any
		}
		d.icmp(kind, 0, uint32(id)<<16|7, g.payload())
	}
}

// from begins a draft of what an endpoint sends to the gateway.
func (g *traffic) from(id int, to netip.Addr) draft {
	e := g.w.endpoints[id]
	return draft{to: gatewayMAC, from: e.mac, etherType: g.w.etherType, ttl: g.ttl(), id: g.rng.Uint32(), src: g.w.of(e), dst: to,
		options: g.options(), chain: g.chain()}
}

// at begins a draft of what arrives at the uplink.
func (g *traffic) at(from, to netip.Addr) draft {
	return draft{to: g.w.uplinkMAC, from: outsideMAC, etherType: g.w.etherType, ttl: g.ttl(), id: g.rng.Uint32(), src: from, dst: to,
		options: g.options(), chain: g.chain()}
}

// remote is mostly one of the few.
func (g *traffic) remote() netip.AddrPort {
	if !g.one(25) {
		return pick(g.rng, g.remotes)
	}
	others := []netip.Addr{g.somewhere(), g.w.addrOf(3), last(g.w.routed), g.w.elsewhereAddr, g.w.unroutable, last(g.w.exempt), g.w.outside, g.w.group, g.w.addrOf(2),
		g.w.gateway, last(g.w.onLink), g.w.subnet.Addr()}
	return netip.AddrPortFrom(pick(g.rng, others), uint16(g.rng.Uint32()))
}

func (g *traffic) sentBy(id int, d draft) model.Input {
	return model.Input{Hook: model.FromEndpoint, Endpoint: id, Frame: d.frame()}
}

// anyOut is from an inside port to a remote, new or not.
func (g *traffic) anyOut() model.Input {
	id, to := 1+g.rng.IntN(2), g.remote()
	d := g.from(id, to.Addr())
	g.transport(&d, g.proto(), pick(g.rng, g.insides), to.Port(), g.rng.Uint32(), false)
	return g.sentBy(id, d)
}

// between is from one network of the host to the other.
func (g *traffic) between() model.Input {
	id := 1 + g.rng.IntN(3)
	to := []netip.Addr{g.w.addrOf(3), g.w.addrOf(3), last(g.w.routed), g.w.routed.Addr().Next()}
	if id == 3 {
		to = []netip.Addr{g.w.addrOf(1), g.w.addrOf(2), g.w.nobody, last(g.w.subnet), g.w.gateway}
	}
	d := g.from(id, pick(g.rng, to))
	g.transport(&d, g.proto(), pick(g.rng, g.insides), pick(g.rng, g.insides), g.rng.Uint32(), g.one(2))
	return g.sentBy(id, d)
}

// session is any that there is.
func (g *traffic) session() (model.SessionKey, *model.Session, bool) {
	if len(g.w.model.Tokens) == 0 {
		return model.SessionKey{}, nil, false
	}
	for range 4 {
		key := pick(g.rng, g.w.model.Tokens)
		if s := g.w.model.Sessions[key]; s.State != model.Dead {
			return key, s, true
		}
	}
	return model.SessionKey{}, nil, false
}

// idOf is which endpoint has the inside address.
func (g *traffic) idOf(a netip.Addr) int {
	for id, e := range g.w.endpoints {
		if id != 0 && g.w.of(e) == a {
			return id
		}
	}
	return 0
}

// sessionOut is one more packet of a session, by the fast path or, now and then, by the slow one.
func (g *traffic) sessionOut() model.Input {
	key, s, ok := g.session()
	id := g.idOf(key.Inside.Addr())
	if !ok || id == 0 {
		return g.anyOut()
	}
	d := g.from(id, key.Remote.Addr())
	g.transport(&d, key.Proto, key.Inside.Port(), key.Remote.Port(), s.Mark, false)
	if g.one(12) && key.Remote.Addr() != g.w.outside {
		return g.byStack(d, model.OffBridge)
	}
	return g.sentBy(id, d)
}

func (g *traffic) arrives(d draft) model.Input {
	return model.Input{Hook: model.FromUplink, Frame: d.frame()}
}

// reply answers a session, mostly from where it may.
func (g *traffic) reply() model.Input {
	key, s, ok := g.session()
	if !ok {
		return g.unsolicited()
	}
	from, to := key.Remote, s.Outside
	switch {
	case g.one(12):
		from = netip.AddrPortFrom(from.Addr(), g.remote().Port())
	case g.one(12):
		from = g.remote()
	case g.one(20):
		to = netip.AddrPortFrom(to.Addr(), to.Port()+1)
	}
	d := g.at(from.Addr(), to.Addr())
	g.transport(&d, key.Proto, from.Port(), to.Port(), s.Mark, true)
	return g.arrives(d)
}

// unsolicited arrives from anywhere for any port.
func (g *traffic) unsolicited() model.Input {
	from := g.remote()
	to := pick(g.rng, []netip.Addr{g.w.outside, g.w.outside, g.w.outside, g.w.outside, g.w.nextHop, g.w.addrOf(1), g.w.gateway})
	if g.one(20) {
		from = netip.AddrPortFrom(g.w.addrOf(2), 9)
	}
	d := g.at(from.Addr(), to)
	g.transport(&d, g.proto(), from.Port(), g.w.ports[0]-1+uint16(g.rng.IntN(12)), g.rng.Uint32(), true)
	return g.arrives(d)
}

// somewhere is a remote that nobody has talked to.
func (g *traffic) somewhere() netip.Addr {
	a := g.w.outside.AsSlice()
	for i := range a {
		if i > 0 || a[0] != 0x20 { // of IPv6 it is a global one
			a[i] = byte(g.rng.Uint32())
		}
	}
	a[0] = max(1, a[0]%224)
	addr, _ := netip.AddrFromSlice(a)
	return addr
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(a); i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(a)
	return addr
}
