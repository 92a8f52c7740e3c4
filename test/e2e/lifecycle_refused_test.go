// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"flyover/test/lab/labtest"
)

func TestNotRoot(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		// The directory of the binary may be root's alone.
		sh(t, "cp $(command -v flyover) /run/flyover-nobody; chmod 755 /run/flyover-nobody")
		before := takeDump(t)
		for _, args := range [][]string{{"up"}, {"down"}, {"lab", "run", "--", "true"}} {
			cmd := exec.Command("/run/flyover-nobody", args...)
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			finish(t, cmd).refused(t, 3, "needs root")
		}
		sameDump(t, "by nobody", before)
	})
}

func TestReadOnlyBPFFS(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		sh(t, "mount -o remount,ro /sys/fs/bpf")
		before := takeDump(t)
		attempt(t, "up").refused(t, 3, "/sys/fs/bpf", "read-only file system")
		sameDump(t, "with a read-only bpffs", before)
	})
}

func TestReadOnlyState(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		sh(t, "mount -o bind /run/flyover /run/flyover; mount -o remount,bind,ro /run/flyover")
		before := takeDump(t)
		attempt(t, "up").refused(t, 3, "/run/flyover", "read-only file system")
		sameDump(t, "with a read-only state", before)
	})
}

// TestWithoutKernelBTF has a kernel that describes no types of its own: the programs use none of them, so nothing is refused.
func TestWithoutKernelBTF(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		sh(t, "mount -t tmpfs none /sys/kernel/btf; test ! -e /sys/kernel/btf/vmlinux")
		flyover(t, "up")
		sh(t, "ip netns exec ns1 ping -c 1 -W 2 192.168.15.2; ip netns exec ns1 ping -c 1 -W 2 203.0.113.1")
		flyover(t, "down")
	})
}

func TestMissingUplink(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		before := takeDump(t)
		attempt(t, "up", "-f", configFile(t, tutorial+"uplinks: [missing0]\n")).refused(t, 1, "missing0", "no such interface")
		sameDump(t, "without an uplink", before)
	})
}

// Whatever comes of it, an error leaves the host as before, and success the network as configured.
func TestInterfaceVanishes(t *testing.T) {
	for _, victim := range []string{"veth-ns2-br", "veth-ns1-br", "br1", "uplink2"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				file := configFile(t, tutorial+"uplinks: [eth0, uplink2]\n")
				uplink := "ip link add uplink2 type veth peer x; ip addr add 198.51.100.2/24 dev uplink2; ip link set uplink2 up"
				sh(t, uplink+"; ip link del uplink2") // so that its modules are there
				before := takeDump(t)
				failed := 0
				for range 5 {
					sh(t, uplink)
					if vanishDuring(t, victim, "up", "-f", file).code != 0 {
						failed++
					} else {
						flyover(t, "up", "-f", configFile(t, tutorial))
						noDrift(t)
						flyover(t, "down")
					}
					sh(t, "ip link del uplink2 2>/dev/null || :")
					before = sameDump(t, "up without "+victim, before)
				}
				t.Logf("%d of 5 failed", failed)
			})
		})
	}
}

// vanishDuring runs flyover while somebody deletes an interface as soon as flyover has made the bridge, or the interface itself.
func vanishDuring(t *testing.T, victim string, args ...string) ended {
	t.Helper()
	script := "until ip link show br1; do :; done; until ip link del " + victim + "; do :; done"
	thief := exec.Command("sh", "-c", script)
	if err := thief.Start(); err != nil {
		t.Fatal(err)
	}
	end := attempt(t, args...)
	_ = thief.Process.Kill()
	_ = thief.Wait()
	if end.code != 0 && !strings.HasPrefix(end.stderr, "flyover: up: ") {
		t.Errorf("exit status %d: %s", end.code, end.stderr)
	}
	return end
}
