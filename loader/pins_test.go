// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flyover/test/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m))
}

// loaded pins a build with room for this many sessions.
func loaded(t *testing.T, sessions uint32) Pins {
	t.Helper()
	p := NewPins(BPFFS)
	if err := p.Load("b", sessions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestFits(t *testing.T) {
	p := NewPins(BPFFS)
	if err := p.Fits(1024); err != nil {
		t.Errorf("nothing pinned: %v", err)
	}
	loaded(t, 2048)
	if err := p.Fits(2048); err != nil {
		t.Errorf("as pinned: %v", err)
	}
	if err := p.Fits(1024); err == nil || !strings.Contains(err.Error(), "2048 sessions, and the configuration has 1024; run `flyover down`") {
		t.Errorf("another size: %v", err)
	}
	old := filepath.Join(BPFFS, "flyover", "v0")
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := p.Fits(2048); err == nil || !strings.Contains(err.Error(), old+" has the maps of another version") {
		t.Errorf("another schema: %v", err)
	}
	if err := p.Remove(); err != nil || p.Exist() {
		t.Errorf("Remove left pins of another schema: %v", err)
	}
}

func fill[K, V comparable](t *testing.T, p Pins, name string, entries map[K]V) {
	t.Helper()
	table, err := OpenTable[K, V](p, name)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for k, v := range entries {
		if err := table.Put(k, v); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEndSessionsWithoutMaps(t *testing.T) {
	if live, err := NewPins(BPFFS).EndSessions(netip.MustParseAddr("10.0.0.1")); err != nil || live != 0 {
		t.Errorf("%d sessions ended, error %v", live, err)
	}
}
