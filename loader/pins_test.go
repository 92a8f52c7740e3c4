// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flyover/bpf"
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

// insides counts the entries of a map by inside address; what the map says is nobody's is not counted.
func insides[K, V comparable](t *testing.T, p Pins, name string, of func(K, V) ([4]byte, bool)) string {
	t.Helper()
	table, err := OpenTable[K, V](p, name)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	counts := map[[4]byte]int{}
	if err := table.Each(func(k K, v V) {
		if inside, lives := of(k, v); lives {
			counts[inside]++
		}
	}); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(counts)
}

// More entries than one batch, of two addresses: those of one go.
func TestEndSessions(t *testing.T) {
	p := loaded(t, 16384)
	const each = batchSize + 100
	gone, stays := [4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2}
	sessions := map[bpf.DatapathSession4Key]bpf.DatapathSession4Entry{}
	replies := map[bpf.DatapathReply4Key]bpf.DatapathReply4Entry{}
	mappings := map[bpf.DatapathMapping4Key]bpf.DatapathMapping4Entry{}
	ports := map[bpf.DatapathPort4Key]bpf.DatapathPort4Entry{}
	live := bpf.DatapathSession4Entry{}
	live.Life.State = bpf.DatapathSessionStateSESSION_ESTABLISHED
	for i := range uint16(each) {
		for n, inside := range [][4]byte{gone, stays} {
			outside := 2*i + uint16(n)
			sessions[bpf.DatapathSession4Key{Inside: inside, InsidePort: i}] = live
			replies[bpf.DatapathReply4Key{OutsidePort: outside}] = bpf.DatapathReply4Entry{Inside: inside}
			mappings[bpf.DatapathMapping4Key{Inside: inside, InsidePort: i}] = bpf.DatapathMapping4Entry{OutsidePort: outside}
			ports[bpf.DatapathPort4Key{OutsidePort: outside}] = bpf.DatapathPort4Entry{Inside: inside}
		}
	}
	fill(t, p, bpf.DatapathMapFoSessions4, sessions)
	fill(t, p, bpf.DatapathMapFoReplies4, replies)
	fill(t, p, bpf.DatapathMapFoMappings4, mappings)
	fill(t, p, bpf.DatapathMapFoPorts4, ports)
	if err := p.EndSessions(netip.AddrFrom4(gone)); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint(map[[4]byte]int{stays: each})
	for name, got := range map[string]string{
		bpf.DatapathMapFoSessions4: insides(t, p, bpf.DatapathMapFoSessions4,
			func(k bpf.DatapathSession4Key, v bpf.DatapathSession4Entry) ([4]byte, bool) {
				return k.Inside, v.Life.State != bpf.DatapathSessionStateSESSION_DEAD
			}),
		bpf.DatapathMapFoReplies4: insides(t, p, bpf.DatapathMapFoReplies4,
			func(_ bpf.DatapathReply4Key, v bpf.DatapathReply4Entry) ([4]byte, bool) { return v.Inside, true }),
		bpf.DatapathMapFoMappings4: insides(t, p, bpf.DatapathMapFoMappings4,
			func(k bpf.DatapathMapping4Key, _ bpf.DatapathMapping4Entry) ([4]byte, bool) { return k.Inside, true }),
		bpf.DatapathMapFoPorts4: insides(t, p, bpf.DatapathMapFoPorts4,
			func(_ bpf.DatapathPort4Key, v bpf.DatapathPort4Entry) ([4]byte, bool) { return v.Inside, true }),
	} {
		if got != want {
			t.Errorf("%s has %s, want %s", name, got, want)
		}
	}
}

func TestEndSessionsWithoutMaps(t *testing.T) {
	if err := NewPins(BPFFS).EndSessions(netip.MustParseAddr("10.0.0.1")); err != nil {
		t.Error(err)
	}
}
