// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/test/lab/labtest"
)

const nothingHere = "nothing to do: nothing of flyover's is here\n"

// partsDeleted is what people delete by hand; eBPF's is done to the eBPF datapath only, and so is the kernel's.
var partsDeleted = map[string]struct{ script, config string }{
	"interface":           {"ip link del veth-ns1-br", tutorial},
	"inner interface":     {"ip -n ns1 link del veth-ns1", tutorial},
	"bridge":              {"ip link del br1", tutorial},
	"address":             {"ip addr flush dev br1", tutorial},
	"route":               {"ip -n ns1 route del default", tutorial},
	"namespace":           {"ip netns del ns1", tutorial},
	"both namespaces":     {"ip netns del ns1; ip netns del ns2", tutorial},
	"neighbour":           {"ip neigh del 192.168.15.1 dev br1", tutorial},
	"all pins":            {"rm -r /sys/fs/bpf/flyover", tutorial},
	"pinned maps":         {"rm -r /sys/fs/bpf/flyover/v4/maps", tutorial},
	"pinned links":        {"rm -r /sys/fs/bpf/flyover/v4/links", tutorial},
	"pinned programs":     {"rm -r /sys/fs/bpf/flyover/v4/progs", tutorial},
	"bpffs":               {"umount /sys/fs/bpf && mount -t bpf -o nosuid,nodev,noexec,mode=0700 bpffs /sys/fs/bpf", tutorial},
	"sysctl":              {"echo 0 > /proc/sys/net/ipv4/conf/eth0/forwarding", tutorial},
	"nftables table":      {"nft delete table flyover", kernelDatapath(tutorial)},
	"nftables everything": {"nft flush ruleset", kernelDatapath(tutorial)},
	"nothing":             {"", tutorial},
}

func TestDownAfterPartsWereDeleted(t *testing.T) {
	for name, part := range partsDeleted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				file := configFile(t, part.config)
				before := takeDump(t)
				flyover(t, "up", "-f", file)
				sh(t, part.script)
				flyover(t, "down")
				sameDump(t, "down without "+name, before)
				if got := flyover(t, "down"); got != nothingHere {
					t.Errorf("second down said %q", got)
				}
			})
		})
	}
}

func TestUpMendsWhatWasDeleted(t *testing.T) {
	for name, part := range partsDeleted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				file := configFile(t, part.config)
				before := takeDump(t)
				flyover(t, "up", "-f", file)
				sh(t, part.script)
				flyover(t, "up", "-f", file)
				noDrift(t)
				forwards(t)
				flyover(t, "down")
				sameDump(t, "down after mending "+name, before)
			})
		})
	}
}

func TestStatusShowsDrift(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		flyover(t, "up")
		sh(t, "ip link set br1 mtu 1300; ip link del veth-ns2-br")
		text := flyover(t, "status")
		for _, words := range []string{"bridge br1", "mtu 1300 -> 1500", "veth veth-ns2-br", "run it again with its configuration to mend"} {
			if !strings.Contains(text, words) {
				t.Errorf("no %q in:\n%s", words, text)
			}
		}
	})
}

func TestStatusOfOneEndpoint(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		flyover(t, "up")
		sh(t, "ip link set veth-ns2-br down")
		for _, name := range []string{"ns1", "veth-ns1-br", "192.168.15.1"} {
			text := flyover(t, "status", "--endpoint", name)
			if !strings.Contains(text, "veth-ns1-br") || strings.Contains(text, "veth-ns2") {
				t.Errorf("status of %s:\n%s", name, text)
			}
		}
		if text := flyover(t, "status", "--endpoint", "ns2"); !strings.Contains(text, "down -> up") {
			t.Errorf("no drift in:\n%s", text)
		}
		attempt(t, "status", "--endpoint", "ns3").refused(t, 1, `endpoint "ns3": no such endpoint`)
	})
}

// A long list is shortened for people, and whole for programs.
func TestStatusOfManyEndpoints(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		var b strings.Builder
		b.WriteString("networks:\n  - {name: br1, subnets: [10.0.0.0/24], gateway: 10.0.0.254, datapath: kernel, endpoints: [\n")
		for i := range 22 {
			fmt.Fprintf(&b, "    {namespace: n%d, addresses: [10.0.0.%d]},\n", i, i+1)
		}
		flyover(t, "up", "-f", configFile(t, b.String()+"  ]}\n"))
		few := flyover(t, "status")
		if !strings.Contains(few, "and 2 more") || !strings.Contains(few, "10.0.0.20/24") || strings.Contains(few, "10.0.0.21/24") {
			t.Errorf("status:\n%s", few)
		}
		for _, args := range [][]string{{"status", "--all"}, {"status", "-o", "json"}} {
			if text := flyover(t, args...); !strings.Contains(text, "10.0.0.22/24") {
				t.Errorf("%q:\n%s", args, text)
			}
		}
	})
}

// Without the state file flyover knows its own by their tags, which only interfaces and nftables rules can carry: up adopts the
// interfaces, and refuses the namespaces, which could be anybody's.
func TestLostState(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		flyover(t, "up")
		sh(t, "rm -r /run/flyover")
		if got := flyover(t, "down"); got != nothingHere {
			t.Errorf("down without state said %q", got)
		}
		up := takeDump(t)
		attempt(t, "up").refused(t, 1, "namespace ns1 exists, not made by flyover", "namespace ns2 exists, not made by flyover")
		sameDump(t, "by a refused up", up)
		forwards(t)
		sh(t, "ip netns del ns1; ip netns del ns2")
		flyover(t, "up")
		noDrift(t)
		forwards(t)
	})
}

// A failed up leaves what the kernel took along with what it changed: the route that went with an address is there again.
func TestFailedUpBringsBackRoutes(t *testing.T) {
	t.Parallel()
	labtest.Alone(t, func(t *testing.T) {
		flyover(t, "up", "-f", configFile(t, tutorial+thirdEndpoint))
		look := func() string {
			return sh(t, "for n in ns1 ns3; do ip -n $n -o addr; ip -n $n route; done; ip -o neigh show dev br1 nud permanent")
		}
		before := look()
		sh(t, "mount --rbind /run/netns /run/netns && mount -o remount,bind,ro /run/netns") // so that no namespace can be made
		moved := strings.Replace(thirdEndpoint, "15.3", "15.33", 1) + "      - {namespace: ns4, addresses: [192.168.15.4]}\n"
		end := finish(t, exec.Command("flyover", "up", "-f", configFile(t, tutorial+moved)))
		if end.code == 0 || end.stdout == "" {
			t.Fatalf("exit status %d, stdout %q, stderr %q: want a failure after a step", end.code, end.stdout, end.stderr)
		}
		if diff := cmp.Diff(before, look()); diff != "" {
			t.Errorf("failed up leaves another host:\n%s", diff)
		}
	})
}
