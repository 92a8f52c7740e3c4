// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"flyover/test/lab"
)

func TestFurniture(t *testing.T) {
	for script, want := range map[string]string{
		"hostname":                            lab.Hostname,
		"ls /run/netns":                       lab.OutsideNamespace,
		"stat -f -c %T /sys/fs/bpf":           "bpf_fs",
		"stat -f -c %T /proc /sys":            "proc\nsysfs",
		"ls /sys/fs/bpf | grep -v debug || :": "",
		"ls /sys/class/net":                   "eth0\nlo",
		"cat /proc/1/comm":                    "exe",
		"echo $" + lab.MarkerEnv:              "1",
		"env | grep LAB_INIT || :":            "",
		"cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/rp_filter": "0\n0\n0\n0\n0",
		"ip route":                 "default via 203.0.113.1 dev eth0 \n203.0.113.0/24 dev eth0 proto kernel scope link src 203.0.113.2",
		"ip -n outside route":      "203.0.113.0/24 dev eth0 proto kernel scope link src 203.0.113.1",
		"ip -6 route show default": "default via 2001:db8:ffff::1 dev eth0 metric 1024 pref medium",
		"ip -6 route get 2001:db8::1 | grep -o 'src [^ ]*'":                      "src 2001:db8:ffff::2",
		"ip -6 -n outside route show default":                                    "",
		"ping -c1 -W2 -q 2001:db8:ffff::1 >&2 && echo yes":                       "yes",
		"ip netns exec outside ping -c1 -W2 -q 2001:db8:ffff::2 >&2 && echo yes": "yes",
		"ping -c1 -W2 -q 203.0.113.1 >&2 && echo yes":                            "yes",
		"ping -c1 -W2 -q 127.0.0.1 >&2 && echo yes":                              "yes",
		"ip netns exec outside ping -c1 -W2 -q 203.0.113.2 >&2 && echo yes":      "yes",
		"ip netns add ns1 && ip netns exec ns1 ls /sys/class/net":                "lo",
		"ip netns exec outside cat /proc/sys/net/ipv4/conf/{all,eth0}/rp_filter": "0\n0",
	} {
		t.Run(strings.ReplaceAll(script, "/", "_"), func(t *testing.T) {
			cmd := callerCommand(t, "bash", "-ec", script)
			cmd.Stderr = t.Output()
			text, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, strings.TrimRight(string(text), "\n ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNested(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	output(t, "ip link add only-outer type veth peer other; "+binary+" sh -ec '! ip link show only-outer; ping -c1 -W2 203.0.113.1'; "+
		"ip link show only-outer")
}

func TestHostUntouched(t *testing.T) {
	requireRoot(t)
	before := hostState(t)
	during := filepath.Join(t.TempDir(), "fifo")
	script := fmt.Sprintf("ip netns add x; mount -t tmpfs x /mnt; ip link add v7 type veth peer v8; mkdir /sys/fs/bpf/x; "+
		"mkfifo %[1]s; echo up > %[1]s; cat %[1]s", during)
	cmd := callerCommand(t, "sh", "-ec", script)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the lab", func() bool { _, err := os.Stat(during); return err == nil })
	if _, err := os.ReadFile(during); err != nil {
		t.Error(err)
	}
	compare(t, "while the lab is up", before)
	if err := os.WriteFile(during, []byte("go on"), 0); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	compare(t, "after the lab", before)
}

func compare(t *testing.T, when string, before map[string]string) {
	t.Helper()
	if diff := cmp.Diff(before, hostState(t)); diff != "" {
		t.Errorf("host changed %s:\n%s", when, diff)
	}
}

// hostState is what a lab could have changed on the test's own host.
func hostState(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, dir := range []string{"/run", "/run/netns", "/run/flyover", "/sys/fs/bpf", "/mnt"} {
		names, _ := filepath.Glob(dir + "/*")
		state[dir] = strings.Join(names, "\n")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	state["mounts"] = string(mounts)
	state["hostname"], _ = os.Hostname()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		state["links"] += fmt.Sprintln(link.Attrs().Index, link.Attrs().Name, link.Attrs().Flags)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	state["routes"] = fmt.Sprint(routes)
	return state
}
