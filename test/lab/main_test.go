// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"flyover/test/lab"
)

// Environment variables that give this test binary another role.
const (
	// callerEnv: be a program like `flyover lab run`, with the arguments as the lab's command.
	callerEnv = "LAB_TEST_CALLER"
	// setupEnv: a Setup that fails with this text.
	setupEnv = "LAB_TEST_SETUP"
)

func TestMain(m *testing.M) {
	if lab.IsInit() || os.Getenv(callerEnv) != "" {
		code, err := lab.Run(context.Background(), lab.Options{Command: os.Args[1:], Setup: setup})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}
	os.Exit(m.Run())
}

type setupError string

func (e setupError) Error() string { return string(e) }
func (e setupError) ExitCode() int { return 2 }

func setup() error {
	if text := os.Getenv(setupEnv); text != "" {
		return setupError(text)
	}
	return os.WriteFile("/run/flyover/setup-ran", nil, 0o600)
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root, to open labs")
	}
}

// callerCommand is this binary in the role of a program that opens a lab.
func callerCommand(t *testing.T, command ...string) *exec.Cmd {
	t.Helper()
	requireRoot(t)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, command...)
	cmd.Env = append(os.Environ(), callerEnv+"=1")
	return cmd
}

// output runs a shell script in a lab and returns what it prints; the script has to succeed.
func output(t *testing.T, script string) string {
	t.Helper()
	text, err := callerCommand(t, "sh", "-ec", script).CombinedOutput()
	if err != nil {
		var exited *exec.ExitError
		if !errors.As(err, &exited) {
			t.Fatal(err)
		}
		t.Fatalf("%s: %v, output:\n%s", script, err, text)
	}
	return string(text)
}
