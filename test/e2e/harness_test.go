// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"

	"flyover/test/lab/labtest"
)

// patience bounds everything that is waited for. It is far more than anything takes, and no measure of speed.
const patience = 20 * time.Second

// try runs a command in a network namespace, "" being the lab host's, and returns all it printed.
func try(ns string, argv ...string) (string, error) {
	return labtest.Command(3*patience, ns, argv...)
}

// run is try for commands that have to succeed.
func run(t *testing.T, ns string, argv ...string) string {
	t.Helper()
	out, err := try(ns, argv...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// until polls a condition that other processes or the kernel bring about.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
