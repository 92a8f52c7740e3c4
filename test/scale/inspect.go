// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// idle is how long nothing is sent.
const idle = 3 * time.Second

// inspect shows what a full table costs when nothing happens, and when somebody lists it.
func inspect(o options) error {
	if err := reportIdle(); err != nil {
		return err
	}
	return reportListing(o)
}

// reportIdle: there is no timer and no process, so nothing runs unless a packet comes. What comes is the namespaces' own: ARP, and
// IPv6 solicitations.
func reportIdle() error {
	before, err := readCounters()
	if err != nil {
		return err
	}
	time.Sleep(idle)
	after, err := readCounters()
	if err != nil {
		return err
	}
	seen := ""
	for reason, n := range after.reasons {
		if n -= before.reasons[reason]; n > 0 {
			seen += fmt.Sprintf(" %s %d", reason, n)
		}
	}
	say("while all sessions are idle", "packets that any program ran for in %v: %s; there is no process and no timer", idle, cmp.Or(seen, "none"))
	return nil
}

// reportListing counts the lines of `flyover nat sessions`, as wc would.
func reportListing(o options) error {
	cmd := exec.Command(o.flyover, "nat", "sessions")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	lines, err := countLines(out)
	if err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	say("flyover nat sessions | wc -l", "%d lines in %.2f s, %.2f s of CPU, peak RSS %.1f MiB", lines, time.Since(start).Seconds(),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), mib(usage.Maxrss<<10))
	return nil
}

func countLines(r io.Reader) (n int, err error) {
	b := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := b.ReadString('\n')
		n += strings.Count(line, "\n")
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
