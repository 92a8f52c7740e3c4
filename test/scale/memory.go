// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"flyover/bpf"
)

// memory is /proc/meminfo, bytes.
type memory map[string]int64

func readMemory() (memory, error) {
	text, err := os.ReadFile("/proc/meminfo")
	m := memory{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		var kilobytes int64
		if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
			return nil, fmt.Errorf("read /proc/meminfo: %w", err)
		}
		m[name] = kilobytes << 10
	}
	return m, err
}

// since says how much more the kernel uses now, all in all and by kind.
func (m memory) since(before memory) (used int64, kinds string) {
	for _, kind := range []string{"VmallocUsed", "Slab", "Percpu", "KernelStack", "PageTables"} {
		kinds += fmt.Sprintf(" %s %+.1f", kind, mib(m[kind]-before[kind]))
	}
	return before["MemAvailable"] - m["MemAvailable"], kinds + " MiB"
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// translation are the maps that hold something for each session.
var translation = []string{
	bpf.DatapathMapFoSessions4, bpf.DatapathMapFoReplies4, bpf.DatapathMapFoExpiry4, bpf.DatapathMapFoMappings4, bpf.DatapathMapFoPorts4,
}

// mapsMemory is what the kernel says that the maps take, as bpftool's bytes_memlock and fdinfo's memlock have it.
func mapsMemory() (translated, all uint64, each string, err error) {
	files, err := filepath.Glob(filepath.Join(pins().Maps(), "*"))
	for _, file := range files {
		bytes, err := memlock(file)
		if err != nil {
			return 0, 0, "", err
		}
		all += bytes
		for _, name := range translation {
			if filepath.Base(file) == name {
				translated += bytes
				each += fmt.Sprintf(" %s %.1f", name, mib(int64(bytes)))
			}
		}
	}
	return translated, all, each + " MiB", err
}

func memlock(file string) (uint64, error) {
	m, err := ebpf.LoadPinnedMap(file, nil)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return 0, err
	}
	bytes, _ := info.Memlock() // none: a trie without entries
	return bytes, nil
}

// ledger is what of the kernel's memory the sessions take, and not the sample's sockets.
type ledger struct {
	empty, up, ready memory // before `up`, after it, and when all but the sessions is there
}

// settled reads when what has been given back is back: the kernel frees maps some time after their last user.
func settled() (memory, error) {
	time.Sleep(time.Second)
	return readMemory()
}

func (l ledger) report(sessions int) error {
	now, err := settled()
	if err != nil {
		return err
	}
	translated, all, each, err := mapsMemory()
	if err != nil {
		return err
	}
	fixed, fixedKinds := l.up.since(l.empty)
	grown, grownKinds := now.since(l.ready)
	say("memory of the maps that hold sessions", "%.1f bytes/session (goal 256):%s", float64(translated)/float64(sessions), each)
	say("memory of all maps", "%.1f bytes/session", float64(all)/float64(sessions))
	say("the machine's MemAvailable less after `up`", "%.1f MiB;%s", mib(fixed), fixedKinds)
	say("less after the fill", "%.1f MiB;%s", mib(grown), grownKinds)
	say("both", "%.1f bytes/session, with namespaces, interfaces and whatever else the machine does meanwhile",
		float64(fixed+grown)/float64(sessions))
	return nil
}
