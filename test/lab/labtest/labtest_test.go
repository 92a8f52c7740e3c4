// SPDX-License-Identifier: Apache-2.0

package labtest_test

import (
	"os"
	"testing"

	"flyover/test/lab"
	"flyover/test/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m))
}

func TestRunsInLab(t *testing.T) {
	requireLab(t)
	leaveTrace(t)
}

func TestAlone(t *testing.T) {
	for _, name := range []string{"first", "second (a+b)"} {
		t.Run(name, func(t *testing.T) {
			labtest.Alone(t, func(t *testing.T) {
				requireLab(t)
				if _, err := os.Stat(trace); err == nil {
					t.Error("not a lab of its own")
				}
				leaveTrace(t)
			})
		})
	}
}

// trace is a file that shows whether a test shares its lab with another one.
const trace = "/run/flyover/trace"

func leaveTrace(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(trace, nil, 0o600); err != nil {
		t.Error(err)
	}
}

func requireLab(t *testing.T) {
	t.Helper()
	name, err := os.Hostname()
	if err != nil || name != lab.Hostname {
		t.Fatalf("host name %q, error %v: not in a lab", name, err)
	}
}
