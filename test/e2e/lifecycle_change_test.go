// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/test/lab/labtest"
)

const thirdEndpoint = "      - {namespace: ns3, addresses: [192.168.15.3]}\n"

// Each change is made to the host as the one before left it, under the traffic of two endpoints that none of them concerns.
func TestChangedFileAppliesTheDifference(t *testing.T) {
	moved := strings.Replace(thirdEndpoint, "15.3", "15.33", 1)
	renamed := strings.Replace(moved, "ns3,", "ns3, host_interface: third,", 1)
	smaller := strings.Replace(tutorial, "    gateway:", "    mtu: 1400\n    gateway:", 1)
	steps := []struct{ name, config string }{
		{"add_endpoint", tutorial + thirdEndpoint},
		{"change_address", tutorial + moved},
		{"rename_host_interface", tutorial + renamed},
		{"remove_endpoint", tutorial},
		{"change_mtu", smaller},
		{"add_network", smaller + otherNetwork},
		{"remove_network", smaller},
	}
	for _, hook := range []string{"tcx", "clsact"} {
		t.Run(hook, func(t *testing.T) {
			labtest.Alone(t, func(t *testing.T) {
				t.Setenv("FLYOVER_HOOK", hook)
				flyover(t, "up", "-f", configFile(t, tutorial))
				inside := startStream(t, "ns1", "ns2", "192.168.15.2")
				outside := startStream(t, "ns1", "outside", "203.0.113.1")
				for _, step := range steps {
					file := configFile(t, step.config)
					plan := flyover(t, "plan", "-f", file)
					did := flyover(t, "up", "-f", file)
					golden(t, "lifecycle_"+step.name, strings.ReplaceAll(did, hook, "HOOK"))
					if !strings.HasPrefix(did, plan) {
						t.Errorf("%s: plan said\n%sup did\n%s", step.name, plan, did)
					}
					noDrift(t)
					forwards(t)
					inside.progress(t)
					outside.progress(t)
				}
				inside.whole(t)
				outside.whole(t)
			})
		})
	}
}

func TestNewEndpointIsReached(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		flyover(t, "up")
		both := strings.ReplaceAll(tutorial+thirdEndpoint+otherNetwork, "    gateway:", "    isolation: false\n    gateway:")
		flyover(t, "up", "-f", configFile(t, both))
		sh(t, `ip netns exec ns3 ping -q -c1 -W5 192.168.15.1
			ip netns exec ns1 ping -q -c1 -W5 192.168.15.3
			ip netns exec ns3 ping -q -c1 -W5 203.0.113.1
			ip netns exec ns4 ping -q -c1 -W5 203.0.113.1
			ip netns exec ns4 ping -q -c1 -W5 192.168.15.3`)
	})
}

// golden compares with testdata/NAME.golden, and writes it anew if E2E_UPDATE is set.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if os.Getenv("E2E_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s:\n%s", file, diff)
	}
}
