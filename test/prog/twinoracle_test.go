// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"

	"github.com/cilium/ebpf"

	"flyover/bpf"
	"flyover/test/model"
)

// The twin is the model's oracle: it looks into the programs' tables.
var _ model.Oracle = (*twin)(nil)

func (w *twin) Port(k model.SessionKey) uint16 {
	s := lookup[sessionKey, sessionEntry](w, w.FoSessions4, sessionKeyOf(k))
	if s == nil || s.Life.State == bpf.DatapathSessionStateSESSION_DEAD {
		return 0
	}
	return be16(s.OutsidePort)
}

func (w *twin) Buckets(endpoint int) model.Buckets {
	u := lookup[uint32, bpf.DatapathUsageEntry](w, w.FoUsage, uint32(endpoint))
	return model.Buckets{
		Sessions: model.Bucket{At: u.Bucket.At, Level: u.Bucket.Level}, Answers: model.Bucket{At: u.Answers.At, Level: u.Answers.Level},
		Broadcasts: model.Bucket{At: u.Broadcasts.At, Level: u.Broadcasts.Level},
	}
}

// spaceHash is exhausted_space() of the programs, whose port_secret is 0 unless the loader sets it.
func spaceHash(s model.Space) uint32 {
	remote := [4]byte{}
	if s.Remote.IsValid() {
		remote = s.Remote.Addr().As4()
	}
	outside := s.Outside.As4()
	h := binary.NativeEndian.Uint32(outside[:]) * 0x85ebca6b
	h = (h ^ h>>15 ^ binary.NativeEndian.Uint32(remote[:])) * 0xc2b2ae35
	h = (h ^ h>>13 ^ uint32(be16(s.Remote.Port()))) * 0x85ebca6b
	h = (h ^ h>>16 ^ uint32(s.Proto)) * 0xc2b2ae35
	return h ^ h>>16
}

// Exhausted says whether there is a note of the space that is not of just now.
func (w *twin) Exhausted(s model.Space) bool {
	hash := spaceHash(s)
	e := lookup[uint32, bpf.DatapathExhaustedEntry](w, w.FoExhausted, (hash-hash%4+uint32(w.ports[1])%4)%w.FoExhausted.MaxEntries())
	return e.At != 0 && e.Space == hash && milliseconds(w.clock())-e.At > 500
}

// Collections is counted by the programs.
func (w *twin) Collections() uint32 {
	return lookup[uint32, bpf.DatapathPressedEntry](w, w.FoPressed4, 0).Made
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
	w.model.Age(seconds)
	w.forgetPressed(w.t)
	if rng.IntN(2) == 0 {
		w.forgetExhausted(w.t)
		clear(w.model.InVain)
	}
	if rng.IntN(2) == 0 {
		w.refill()
	}
}

// refill lets every endpoint have as many answers at once as ever.
func (w *twin) refill() {
	for owner, u := range w.model.Usage {
		if owner == model.Host {
			continue
		}
		u.Answers = model.Bucket{}
		e := lookup[uint32, bpf.DatapathUsageEntry](w, w.FoUsage, uint32(owner))
		e.Answers.At, e.Answers.Level = 0, 0
		put(w.t, w.FoUsage, uint32(owner), *e)
	}
}
