// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"flyover/test/lab/labtest"
)

func TestForeignObjectsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		prepare, config string
		words           []string
	}{
		"namespace":       {"ip netns add ns1", tutorial, []string{"namespace ns1 exists, not made by flyover"}},
		"bridge":          {"ip link add br1 type bridge", tutorial, []string{"interface br1 exists (bridge), not made by flyover"}},
		"not a bridge":    {"ip link add br1 type veth peer x", tutorial, []string{"interface br1 exists (veth), not made by flyover"}},
		"veth":            {"ip link add veth-ns1-br type veth peer x", tutorial, []string{"interface veth-ns1-br exists (veth), not made by flyover"}},
		"open directory":  {"mkdir -m 0777 /sys/fs/bpf/flyover", tutorial, []string{"/sys/fs/bpf/flyover", "0777"}},
		"owned directory": {"mkdir -m 0700 /sys/fs/bpf/flyover; chown 1234 /sys/fs/bpf/flyover", tutorial, []string{"/sys/fs/bpf/flyover", "user 1234"}},
		"squatted below":  {"mkdir -m 0700 /sys/fs/bpf/flyover; mkdir -m 0770 /sys/fs/bpf/flyover/v4", tutorial, []string{"/sys/fs/bpf/flyover/v4", "0770"}},
		"nftables table": {
			"nft 'table ip flyover { chain c { tcp dport 1 accept; }; }'", kernelDatapath(tutorial),
			[]string{"nftables table ip flyover exists, not made by flyover"},
		},
		"all at once": {
			`ip netns add ns1; ip netns add ns2; ip link add br1 type bridge; ip link add veth-ns1-br type veth peer x; mkdir -m 0777 /sys/fs/bpf/flyover
				nft 'table ip flyover { chain c { tcp dport 1 accept; }; }'`,
			tutorial + kernelDatapath(otherNetwork),
			[]string{"namespace ns1", "namespace ns2", "interface br1", "interface veth-ns1-br", "/sys/fs/bpf/flyover", "nftables table ip flyover"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				file := configFile(t, c.config)
				sh(t, c.prepare)
				before := takeDump(t)
				for _, command := range []string{"plan", "up"} {
					attempt(t, command, "-f", file).refused(t, 1, c.words...)
					sameDump(t, "by a refused "+command, before)
				}
				if got := flyover(t, "down"); got != nothingHere {
					t.Errorf("down said %q", got)
				}
				sameDump(t, "by down", before)
			})
		})
	}
}

// What appears among ours after up is not ours either.
func TestDownKeepsForeignObjects(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		flyover(t, "up")
		sh(t, `ip link del veth-ns1-br; ip link add veth-ns1-br type bridge; ip addr add 198.51.100.1/24 dev veth-ns1-br
			ip link add mine type veth peer x; ip link set mine master br1; mkdir /sys/fs/bpf/mine; nft add table ip mine`)
		flyover(t, "down")
		left := sh(t, "ip -br link; ls /sys/fs/bpf; nft list ruleset; ls /run/netns")
		for _, words := range []string{"veth-ns1-br", "mine", "table ip mine"} {
			if !strings.Contains(left, words) {
				t.Errorf("%s is gone:\n%s", words, left)
			}
		}
		for _, words := range []string{"br1 ", "ns1\n", "flyover"} {
			if strings.Contains(left, words) {
				t.Errorf("%q is left:\n%s", words, left)
			}
		}
	})
}
