// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

const pinRoot = "/sys/fs/bpf/flyover/v4"

// pinnedIDs are the ids of all pinned objects by their path below the root.
func pinnedIDs(t *testing.T) map[string]uint32 {
	t.Helper()
	ids := map[string]uint32{}
	_ = filepath.WalkDir(pinRoot, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		rel := strings.TrimPrefix(path, pinRoot+"/")
		id, err := pinnedID(rel, path)
		if err != nil {
			t.Fatalf("%s: %v", rel, err)
		}
		ids[rel] = id
		return nil
	})
	return ids
}

func pinnedID(rel, path string) (uint32, error) {
	kind := filepath.Dir(rel)
	if filepath.Base(rel) == "twins" { // the way to the programs for IPv6
		kind = "maps"
	}
	switch kind {
	case "maps":
		m, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			return 0, err
		}
		defer m.Close()
		info, err := m.Info()
		if err != nil {
			return 0, err
		}
		id, _ := info.ID()
		return uint32(id), nil
	}
	if strings.HasPrefix(rel, "links/") {
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			return 0, err
		}
		defer l.Close()
		info, err := l.Info()
		if err != nil {
			return 0, err
		}
		return uint32(info.ID), nil
	}
	p, err := ebpf.LoadPinnedProgram(path, nil)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return 0, err
	}
	id, _ := info.ID()
	return uint32(id), nil
}

func pinnedPrograms(t *testing.T) []ebpf.ProgramID {
	t.Helper()
	var programs []ebpf.ProgramID
	for path, id := range pinnedIDs(t) {
		if strings.HasPrefix(path, "progs/") {
			programs = append(programs, ebpf.ProgramID(id))
		}
	}
	return programs
}

// pinnedUnder are the ids of one kind: maps, links or progs.
func pinnedUnder(t *testing.T, kind string) map[string]uint32 {
	t.Helper()
	ids := pinnedIDs(t)
	for path := range ids {
		if !strings.HasPrefix(path, kind+"/") {
			delete(ids, path)
		}
	}
	return ids
}
