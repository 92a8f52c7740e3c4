// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"

	"flyover/bpf"
)

// batchSize is how many entries a walk asks the kernel for at once: more than any bucket of a hash table ever holds.
const batchSize = 4096

// EndSessions ends every session of the inside address and gives back what they hold. The address must be nobody's meanwhile, so
// that none is made anew. Missing maps are not an error.
//
// The entries of the sessions stay, dead, until their tokens are collected: each has one token in fo_expiry, and one that is deleted
// and made anew would have two. What the sessions hold goes after them, so that nobody gives it back a second time.
func (p Pins) EndSessions(address netip.Addr) error {
	inside := address.As4()
	return errors.Join(
		endWhere(p, bpf.DatapathMapFoSessions4,
			func(k bpf.DatapathSession4Key, _ bpf.DatapathSession4Entry) bool { return k.Inside == inside },
			func(m *ebpf.Map, k bpf.DatapathSession4Key) error {
				return m.Update(k, bpf.DatapathSession4Entry{}, ebpf.UpdateExist) // zero is SESSION_DEAD
			}),
		endWhere(p, bpf.DatapathMapFoReplies4,
			func(_ bpf.DatapathReply4Key, v bpf.DatapathReply4Entry) bool { return v.Inside == inside }, remove),
		endWhere(p, bpf.DatapathMapFoMappings4,
			func(k bpf.DatapathMapping4Key, _ bpf.DatapathMapping4Entry) bool { return k.Inside == inside }, remove),
		endWhere(p, bpf.DatapathMapFoPorts4,
			func(_ bpf.DatapathPort4Key, v bpf.DatapathPort4Entry) bool { return v.Inside == inside }, remove),
	)
}

func remove[K comparable](m *ebpf.Map, key K) error { return m.Delete(key) }

// endWhere calls end for the entries of a hash map that the condition is true of. One that has gone meanwhile has ended.
func endWhere[K, V comparable](p Pins, name string, condition func(K, V) bool, end func(*ebpf.Map, K) error) error {
	t, err := OpenTable[K, V](p, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer t.Close()
	var ended []K
	if err := t.batches(func(key K, value V) {
		if condition(key, value) {
			ended = append(ended, key)
		}
	}); err != nil {
		return err
	}
	for _, key := range ended {
		if err := end(t.m, key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("end %v in map %s: %w", key, name, err)
		}
	}
	return nil
}

// batches is Each for a hash map, with few system calls.
func (t *Table[K, V]) batches(visit func(K, V)) error {
	keys, values := make([]K, batchSize), make([]V, batchSize)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := t.m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			visit(keys[i], values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) { // the end
			return nil
		}
		if err != nil {
			return fmt.Errorf("walk map %s: %w", t.name, err)
		}
	}
}
