// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/test/lab/labtest"
)

// upgradePackets is how long a stream at least is that lives through an upgrade there and back.
const upgradePackets = 120_000

func TestUpgradeUnderTraffic(t *testing.T) {
	other := filepath.Join(t.TempDir(), "flyover-other")
	for _, hook := range []string{"tcx", "clsact"} {
		t.Run(hook, func(t *testing.T) {
			labtest.Alone(t, func(t *testing.T) {
				t.Setenv("FLYOVER_HOOK", hook)
				buildOther(t, other)
				flyover(t, "up")
				inside := startStream(t, "ns1", "ns2", "192.168.15.2")
				outside := startStream(t, "ns1", "outside", "203.0.113.1")
				maps, links, programs := pinnedUnder(t, "maps"), pinnedUnder(t, "links"), pinnedPrograms(t)
				for round := int64(1); round <= 4; round++ {
					inside.reach(t, round*upgradePackets/5)
					outside.reach(t, round*upgradePackets/5)
					upgrade(t, []string{"flyover", other}[round%2])
					if diff := cmp.Diff(maps, pinnedUnder(t, "maps")); diff != "" {
						t.Errorf("maps were replaced:\n%s", diff)
					}
					if diff := cmp.Diff(links, pinnedUnder(t, "links")); diff != "" {
						t.Errorf("links were replaced:\n%s", diff)
					}
					until(t, "the old programs to go", func() bool { return noneLoaded(programs) })
					programs = pinnedPrograms(t)
				}
				inside.reach(t, upgradePackets)
				outside.reach(t, upgradePackets)
				inside.whole(t)
				outside.whole(t)
			})
		})
	}
}

func upgrade(t *testing.T, binary string) {
	t.Helper()
	d := finish(t, exec.Command(binary, "up"))
	if d.code != 0 || d.stdout == "nothing to do: the host is as configured\n" {
		t.Fatalf("%s up: exit status %d, said:\n%s%s", binary, d.code, d.stdout, d.stderr)
	}
	noDrift(t)
}

// buildOther builds the same program with another version, which brings its own programs.
func buildOther(t *testing.T, file string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X main.version=other", "-o", file, "../../cmd/flyover")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if d := finish(t, cmd); d.code != 0 {
		t.Fatal(d.stderr)
	}
}
