// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/cilium/ebpf"

	"flyover/bpf"
	"flyover/test/ageing"
)

// age lets d pass for all sessions. Nothing may send meanwhile.
func age(d time.Duration) error {
	if err := agePinned[sessionKey, sessionEntry](bpf.DatapathMapFoSessions4, d); err != nil {
		return err
	}
	if err := agePinned[replyKey, replyEntry](bpf.DatapathMapFoReplies4, d); err != nil {
		return err
	}
	return agePinned[portKey, portEntry](bpf.DatapathMapFoPorts4, d)
}

func agePinned[K, V any](name string, d time.Duration) error {
	m, err := ebpf.LoadPinnedMap(pins().Map(name), nil)
	if err != nil {
		return err
	}
	defer m.Close()
	return ageing.Map[K, V](m, d)
}
