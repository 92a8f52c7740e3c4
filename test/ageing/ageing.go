// SPDX-License-Identifier: Apache-2.0

// Package ageing makes entries of the translation's maps look older than they are, so that the true timers are tested without
// waiting for them.
package ageing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"flyover/bpf"
)

// seenOffset is where life.seen is in the entries of all maps that have it.
const seenOffset = unsafe.Offsetof(bpf.DatapathSessionEntry{}.Life) + unsafe.Offsetof(bpf.DatapathSessionEntry{}.Life.Seen)

// batch is more than any bucket of a hash table ever holds.
const batch = 4096

// Map makes all entries of fo_sessions4, fo_replies4 or fo_ports4, whose types K and V are, look as if their last packet was d
// longer ago. Nothing may send meanwhile, since entries are written back as they were read. A million take a second or so.
func Map[K, V any](m *ebpf.Map, d time.Duration) error {
	keys, values := make([]K, batch), make([]V, batch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !end {
			return fmt.Errorf("age %v: read: %w", m, err)
		}
		for i := range n {
			field := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&values[i]), seenOffset)), 4)
			binary.NativeEndian.PutUint32(field, binary.NativeEndian.Uint32(field)-uint32(d/time.Second))
		}
		if n > 0 {
			// The cursor is past these buckets, so that no entry comes twice.
			if _, err := m.BatchUpdate(keys[:n], values[:n], nil); err != nil {
				return fmt.Errorf("age %v: write: %w", m, err)
			}
		}
		if end {
			return nil
		}
	}
}
