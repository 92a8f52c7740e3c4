// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"

	"github.com/cilium/ebpf"

	"flyover/bpf"
	"flyover/test/model"
)

// A family is its model's oracle: it looks into the programs' tables.
var _ model.Oracle = (*family)(nil)

// Port is that of the session's entry.
func (w *family) Port(k model.SessionKey) uint16 {
	s := lookup[sessionEntry6](w.twin, w.tables.sessions, sessionKeyOf(k))
	if s == nil || s.Life.State == uint32(bpf.DatapathSessionStateSESSION_DEAD) {
		return 0
	}
	return be16(s.OutsidePort)
}

// usageOf is what the programs have counted of an endpoint.
func (w *twin) usageOf(owner int) bpf.DatapathUsageEntry {
	var u bpf.DatapathUsageEntry
	if err := w.FoUsage.Lookup(uint32(owner), &u); err != nil {
		w.t.Fatal(err)
	}
	return u
}

// Buckets are both families'.
func (w *twin) Buckets(endpoint int) model.Buckets {
	u := w.usageOf(endpoint)
	return model.Buckets{
		Sessions: model.Bucket{At: u.Bucket.At, Level: u.Bucket.Level}, Answers: model.Bucket{At: u.Answers.At, Level: u.Answers.Level},
		Broadcasts: model.Bucket{At: u.Broadcasts.At, Level: u.Broadcasts.Level},
	}
}

// mix is port_hash() of the programs, whose port_secret is 0 unless the loader sets it.
func mix(a, b, c, d uint32) uint32 {
	h := a * 0x85ebca6b
	h = (h ^ h>>15 ^ b) * 0xc2b2ae35
	h = (h ^ h>>13 ^ c) * 0x85ebca6b
	h = (h ^ h>>16 ^ d) * 0xc2b2ae35
	h = (h ^ h>>13) * 0x85ebca6b
	return h ^ h>>16
}

// fold is addr_fold().
func fold(a netip.Addr) uint32 {
	all := octets(a)
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(all[4*i:]) }
	if a.Is6() {
		return mix(word(0), word(1), word(2), word(3))
	}
	return word(0)
}

// spaceHash is exhausted_space(). No remote is one of zeros.
func spaceHash(s model.Space) uint32 {
	return mix(fold(s.Outside), fold(s.Remote.Addr()), uint32(be16(s.Remote.Port())), uint32(s.Proto))
}

// placeOfSpace is where a note of the space is.
func (w *twin) placeOfSpace(s model.Space) uint32 {
	hash := spaceHash(s)
	return (hash - hash%4 + uint32(w.ports[1])%4) % w.FoExhausted.MaxEntries()
}

// Meet says whether the notes of two spaces are at the same place.
func (w *twin) Meet(a, b model.Space) bool { return w.placeOfSpace(a) == w.placeOfSpace(b) }

// Exhausted says whether there is a note of the space that is not of just now.
func (w *twin) Exhausted(s model.Space) bool {
	hash := spaceHash(s)
	var e bpf.DatapathExhaustedEntry
	if err := w.FoExhausted.Lookup(w.placeOfSpace(s), &e); err != nil {
		w.t.Fatal(err)
	}
	return e.At != 0 && e.Space == hash && milliseconds(w.clock())-e.At > 500
}

// Collections is counted by the programs.
func (w *family) Collections() uint32 {
	return lookup[bpf.Datapath6PressedEntry](w.twin, w.tables.pressed, uint32(0)).Made
}

// changeAll changes every entry of a hash, in a few system calls.
func changeAll[K, V any](w *twin, m *ebpf.Map, change func(*V)) {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]K, 4096), make([]V, 4096)
	n, err := m.BatchLookup(&cursor, keys, values, nil)
	if !errors.Is(err, ebpf.ErrKeyNotExist) { // that there are no more
		w.t.Fatalf("read all of %v: %v", m, err)
	}
	for i := range n {
		change(&values[i])
	}
	if n == 0 {
		return
	}
	if _, err := m.BatchUpdate(keys[:n], values[:n], nil); err != nil {
		w.t.Fatalf("change all of %v: %v", m, err)
	}
}

// pass lets time pass for both.
func (w *twin) pass(rng *rand.Rand, seconds uint32) {
	changeAll[sessionKey](w, w.FoSessions4, func(s *sessionEntry) { s.Life.Seen -= seconds })
	changeAll[replyKey](w, w.FoReplies4, func(r *replyEntry) { r.Life.Seen -= seconds })
	changeAll[portKey](w, w.FoPorts4, func(p *portEntry) { p.Life.Seen -= seconds })
	six := &w.datapath.six
	changeAll[sessionKey6](w, six.FoSessions6, func(s *sessionEntry6) { s.Life.Seen -= seconds })
	changeAll[replyKey6](w, six.FoReplies6, func(r *replyEntry6) { r.Life.Seen -= seconds })
	changeAll[portKey6](w, six.FoPorts6, func(p *portEntry6) { p.Life.Seen -= seconds })
	w.four.model.Age(seconds)
	w.six.model.Age(seconds)
	w.forgetPressed(w.t)
	w.forgetPressed6()
	if rng.IntN(2) == 0 {
		w.forgetExhausted(w.t)
		clear(w.four.model.InVain)
	}
	if rng.IntN(2) == 0 {
		w.refill()
	}
}

// forgetPressed6 is forgetPressed for IPv6.
func (w *twin) forgetPressed6() {
	pressed := w.datapath.six.FoPressed6
	var e bpf.Datapath6PressedEntry
	if err := pressed.Lookup(uint32(0), &e); err != nil {
		w.t.Fatal(err)
	}
	e.Vain = [2]uint32{}
	put(w.t, pressed, uint32(0), e)
}

// refill lets every endpoint have as many answers at once as ever.
func (w *twin) refill() {
	for owner, u := range w.four.model.Usage {
		if owner == model.Host {
			continue
		}
		u.Answers = model.Bucket{}
		e := w.usageOf(owner)
		e.Answers.At, e.Answers.Level = 0, 0
		put(w.t, w.FoUsage, uint32(owner), e)
	}
}
