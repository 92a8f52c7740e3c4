// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// kernelEndpoints is how many endpoints the kernel's datapath is tried with: a Linux bridge has 1023 ports.
const kernelEndpoints = 1000

// manyEndpoints shows what the host's set-up costs as the number of endpoints of a network grows.
func manyEndpoints(o options) error { return setUp(o, o.endpoints, "ebpf") }

// manyKernelEndpoints is manyEndpoints with the kernel's own forwarding.
func manyKernelEndpoints(o options) error {
	return setUp(o, min(o.endpoints, kernelEndpoints), "kernel")
}

func setUp(o options, number int, datapath string) error {
	dir, err := os.MkdirTemp("", "scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	full, more := filepath.Join(dir, "full.yaml"), filepath.Join(dir, "more.yaml")
	for file, n := range map[string]int{full: number, more: number + 1} {
		if err := os.WriteFile(file, []byte(endpointsConfig(n, datapath)), 0o600); err != nil {
			return err
		}
	}
	empty, err := settled()
	if err != nil {
		return err
	}
	if err := timed(o, fmt.Sprintf("up, %d endpoints", number), []string{"up", "-f", full}); err != nil {
		return err
	}
	up, err := settled()
	if err != nil {
		return err
	}
	used, kinds := up.since(empty)
	say("the machine's MemAvailable less after `up`", "%.1f MiB, %.1f KiB an endpoint;%s", mib(used), float64(used)/1024/float64(number), kinds)
	if err := talk(number, o.pairs, datapath == "ebpf"); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		args []string
	}{
		{"up again", []string{"up", "-f", full}},
		{"one more", []string{"up", "-f", more}},
		{"one less", []string{"up", "-f", full}},
		{"one more, only changes", []string{"up", "--only-changes", "-f", more}},
		{"status", []string{"status"}},
		{"down", []string{"down"}},
	} {
		if err := timed(o, fmt.Sprintf("%s, %d endpoints", step.what, number), step.args); err != nil {
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

// endpointsConfig is a network of n endpoints.
func endpointsConfig(n int, datapath string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "networks:\n  - name: br1\n    subnets: [10.0.0.0/16]\n    gateway: 10.0.255.1\n    datapath: %s\n    endpoints:\n", datapath)
	for i := range n {
		fmt.Fprintf(&b, "      - {namespace: %s, interface: eth0, host_interface: v%d, addresses: [%s]}\n", endpointName(i), i, endpointAddr(i))
	}
	return b.String()
}

func endpointName(i int) string { return fmt.Sprintf("c%d", i) }

func endpointAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(1 + i%250)})
}
