// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// networkSize is how many endpoints a network of the test has at most: a bridge takes 1023 ports, and one more is wanted.
const networkSize = 1000

// manyEndpoints shows what the host's set-up costs as the number of endpoints grows.
func manyEndpoints(o options) error {
	dir, err := os.MkdirTemp("", "scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	full, more := filepath.Join(dir, "full.yaml"), filepath.Join(dir, "more.yaml")
	for file, n := range map[string]int{full: o.endpoints, more: o.endpoints + 1} {
		if err := os.WriteFile(file, []byte(endpointsConfig(n)), 0o600); err != nil {
			return err
		}
	}
	steps := []struct {
		what string
		args []string
	}{
		{"up", []string{"up", "-f", full}},
		{"up again", []string{"up", "-f", full}},
		{"one more", []string{"up", "-f", more}},
		{"one less", []string{"up", "-f", full}},
		{"status", []string{"status"}},
		{"down", []string{"down"}},
	}
	for _, step := range steps {
		if err := timed(o, fmt.Sprintf("%s, %d endpoints", step.what, o.endpoints), step.args); err != nil {
			return err
		}
	}
	return nil
}

// timed runs flyover and prints what it took. The kernel does a part of the work after that, above all when namespaces go.
func timed(o options, what string, args []string) error {
	cmd := exec.Command(o.flyover, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("flyover %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	say(what, "%.3f s, CPU %.3f s user %.3f s kernel, peak RSS %.0f MiB", time.Since(start).Seconds(),
		cmd.ProcessState.UserTime().Seconds(), cmd.ProcessState.SystemTime().Seconds(), mib(usage.Maxrss<<10))
	return nil
}

// endpointsConfig is n endpoints, the last network taking one more than the others.
func endpointsConfig(n int) string {
	var b strings.Builder
	b.WriteString("networks:\n")
	for i := range n {
		network, host := i/networkSize, i%networkSize
		if rest := n - i; host == 0 && (rest > 1 || i == 0) {
			fmt.Fprintf(&b, "  - name: br%d\n    subnets: [10.%d.0.0/16]\n    gateway: 10.%d.255.1\n    endpoints:\n", network, network, network)
		} else if host == 0 { // the one more
			network, host = network-1, networkSize
		}
		fmt.Fprintf(&b, "      - {namespace: c%d, interface: eth0, host_interface: v%d, addresses: [10.%d.%d.%d]}\n",
			i, i, network, host/250, 1+host%250)
	}
	return b.String()
}
