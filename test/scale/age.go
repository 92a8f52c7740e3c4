// SPDX-License-Identifier: Apache-2.0

package main

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
const seenOffset = unsafe.Offsetof(bpf.DatapathSession4Entry{}.Life) + unsafe.Offsetof(bpf.DatapathSession4Entry{}.Life.Seen)

// ageBatch is more than any bucket of a hash table ever holds.
const ageBatch = 4096

// age makes all sessions look as if their last packet was d longer ago: the true timers work, and need not be waited for.
// Nothing may send meanwhile, since entries are written back as they were read.
func age(d time.Duration) error {
	if err := ageMap[bpf.DatapathSession4Key, bpf.DatapathSession4Entry](bpf.DatapathMapFoSessions4, d); err != nil {
		return err
	}
	if err := ageMap[bpf.DatapathReply4Key, bpf.DatapathReply4Entry](bpf.DatapathMapFoReplies4, d); err != nil {
		return err
	}
	return ageMap[bpf.DatapathPort4Key, bpf.DatapathPort4Entry](bpf.DatapathMapFoPorts4, d)
}

func ageMap[K, V any](name string, d time.Duration) error {
	m, err := ebpf.LoadPinnedMap(pins().Map(name), nil)
	if err != nil {
		return err
	}
	defer m.Close()
	keys, values := make([]K, ageBatch), make([]V, ageBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !end {
			return fmt.Errorf("age %s: read: %w", name, err)
		}
		for i := range n {
			field := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&values[i]), seenOffset)), 4)
			binary.NativeEndian.PutUint32(field, binary.NativeEndian.Uint32(field)-uint32(d/time.Second))
		}
		if n > 0 {
			// The cursor is past these buckets, so that no entry comes twice.
			if _, err := m.BatchUpdate(keys[:n], values[:n], nil); err != nil {
				return fmt.Errorf("age %s: write: %w", name, err)
			}
		}
		if end {
			return nil
		}
	}
}
