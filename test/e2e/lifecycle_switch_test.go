// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"flyover/test/lab/labtest"
)

func TestSwitchDatapath(t *testing.T) {
	for _, hook := range []string{"tcx", "clsact"} {
		t.Run(hook, func(t *testing.T) {
			labtest.Alone(t, func(t *testing.T) {
				t.Setenv("FLYOVER_HOOK", hook)
				before := takeDump(t)
				ebpf, kernel := configFile(t, tutorial), configFile(t, kernelDatapath(tutorial))
				flyover(t, "up", "-f", ebpf)
				leaked, endCapture := watchOutside(t)
				flood := startFlood(t, "ns1", "outside", "203.0.113.1")
				for range 3 {
					flyover(t, "up", "-f", kernel)
					noDrift(t)
					forwards(t)
					nothingOfEBPF(t)
					leaked("from ebpf to kernel")
					flyover(t, "up", "-f", ebpf)
					noDrift(t)
					forwards(t)
					if rules := sh(t, "nft list ruleset"); rules != "" {
						t.Errorf("left of the kernel datapath:\n%s", rules)
					}
					leaked("from kernel to ebpf")
				}
				flood.stop()
				endCapture()
				flyover(t, "down")
				sameDump(t, "after switching", before)
			})
		})
	}
}

func nothingOfEBPF(t *testing.T) {
	t.Helper()
	if left, _ := filepath.Glob("/sys/fs/bpf/flyover*"); len(left) > 0 {
		t.Errorf("left of the eBPF datapath: %v", left)
	}
	if attached := attachedIDs(t); attached != "" {
		t.Errorf("left at the uplink: %s", attached)
	}
	if filters := sh(t, "tc qdisc show | grep clsact || :"); filters != "" {
		t.Errorf("left: %s", filters)
	}
}

// watchOutside captures what inside addresses the outside sees. The first function that it returns reports those that came since
// its last call, the second ends the capture.
func watchOutside(t *testing.T) (leaked func(during string), end func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "capture")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("ip", "netns", "exec", "outside", "tcpdump", "-n", "-l", "-i", "eth0", "--immediate-mode",
		"(net 192.168.15.0/24) or (udp port 9)")
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	mark := func() { // proves that the capture is running, and that it has seen everything before the mark
		marks := countMarks(file)
		until(t, "a mark in the capture", func() bool {
			sh(t, "bash -c 'echo mark > /dev/udp/203.0.113.1/9'")
			return countMarks(file) > marks
		})
	}
	mark()
	seen := 0
	return func(during string) {
		t.Helper()
		mark()
		lines := insideLines(file)
		if count := len(lines) - seen; count > 0 {
			t.Errorf("%s: %d packets of inside addresses outside, the first: %s", during, count, lines[seen])
		}
		seen = len(lines)
	}, end
}

func countMarks(file string) int {
	text, _ := os.ReadFile(file)
	return strings.Count(string(text), "203.0.113.1.9:")
}

func insideLines(file string) []string {
	var lines []string
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "192.168.15.") {
			lines = append(lines, line)
		}
	}
	return lines
}
