// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// stayOnOneCPU keeps this process, and all that it starts, on one CPU. Between virtual interfaces, packets wait in a queue of the
// CPU that sends them: with one CPU, none overtakes another, and a fence is one.
func stayOnOneCPU(t *testing.T, number int) {
	t.Helper()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	one.Set(nth(&all, number%all.Count()))
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		// A thread may have ended since; others get the CPU of the one that makes them.
		if id, err := strconv.Atoi(task.Name()); err == nil {
			_ = unix.SchedSetaffinity(id, &one)
		}
	}
}

// nth is the number of a CPU that is in the set.
func nth(set *unix.CPUSet, n int) int {
	for cpu := 0; ; cpu++ {
		if !set.IsSet(cpu) {
			continue
		}
		if n == 0 {
			return cpu
		}
		n--
	}
}
