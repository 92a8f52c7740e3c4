// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Table is one pinned map with keys of type K and values of type V.
type Table[K, V comparable] struct {
	m    *ebpf.Map
	name string
}

// OpenTable opens the pinned map name. The caller closes it. A missing map is an os.ErrNotExist.
func OpenTable[K, V comparable](p Pins, name string) (*Table[K, V], error) {
	m, err := ebpf.LoadPinnedMap(p.Map(name), nil)
	if err != nil {
		return nil, fmt.Errorf("open map %s: %w", name, err)
	}
	return &Table[K, V]{m: m, name: name}, nil
}

// Close releases the file descriptor, if there is one.
func (t *Table[K, V]) Close() error {
	if t == nil {
		return nil
	}
	return t.m.Close()
}

// Get returns the value of key; false if there is none.
func (t *Table[K, V]) Get(key K) (V, bool, error) {
	var value V
	err := t.m.Lookup(key, &value)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return value, false, nil
	}
	if err != nil {
		return value, false, fmt.Errorf("look up %v in map %s: %w", key, t.name, err)
	}
	return value, true, nil
}

// Put sets the value of key.
func (t *Table[K, V]) Put(key K, value V) error {
	if err := t.m.Put(key, value); err != nil {
		return fmt.Errorf("put %v into map %s: %w", key, t.name, err)
	}
	return nil
}

// Delete removes key. A missing one is not an error. Entries of an array become zero.
func (t *Table[K, V]) Delete(key K) error {
	if t.m.Type() == ebpf.Array {
		var zero V
		return t.Put(key, zero)
	}
	if err := t.m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete %v from map %s: %w", key, t.name, err)
	}
	return nil
}

// Each calls visit for every entry, in no order. Entries that come or go meanwhile may be visited or not.
func (t *Table[K, V]) Each(visit func(K, V)) error {
	var key K
	var value V
	entries := t.m.Iterate()
	for entries.Next(&key, &value) {
		visit(key, value)
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("walk map %s: %w", t.name, err)
	}
	return nil
}

// scanBatch is how many entries Scan asks the kernel for at once, 200 KB of the largest. No bucket of a hash holds as many.
const scanBatch = 4096

// Scan is Each for a map of any size: it takes few system calls and little memory. It stops at the first error of visit. Of a hash
// the kernel hands out one bucket after the other, each as it is at that moment, so no key is visited twice.
func (t *Table[K, V]) Scan(visit func(K, V) error) error {
	keys, values := make([]K, scanBatch), make([]V, scanBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := t.m.BatchLookup(&cursor, keys, values, nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !end {
			return fmt.Errorf("walk map %s: %w", t.name, err)
		}
		for i := range n {
			if err := visit(keys[i], values[i]); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}
