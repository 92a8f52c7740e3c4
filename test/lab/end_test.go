// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOrphanIsGone(t *testing.T) {
	marker := sleepTime(1)
	output(t, "setsid sleep "+marker+" & exit 0")
	if left := sleeping(t, marker); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOrphanIsReaped(t *testing.T) {
	output(t, "(sleep 0.2 &) ; sleep 0.6; ! ps -e -o stat= | grep Z")
}

func TestCallerKilled(t *testing.T) {
	marker := sleepTime(2)
	cmd := startCaller(t, "sh", "-c", "setsid sleep "+marker+" & sleep "+marker)
	waitFor(t, "both sleeps", func() bool { return len(sleeping(t, marker)) >= 2 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	waitFor(t, "the end of the lab", func() bool { return len(sleeping(t, marker)) == 0 })
}

func TestSignalReachesCommand(t *testing.T) {
	// Under nohup SIGHUP is ignored, and so it would be by the shell below. What is caught here has its default there.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			marker := sleepTime(3)
			script := fmt.Sprintf("trap 'echo got; exit 42' %d; sleep %s & wait", int(sig), marker)
			cmd := callerCommand(t, "sh", "-c", script)
			var stdout bytes.Buffer
			cmd.Stdout = &stdout
			start(t, cmd)
			waitFor(t, "the sleep", func() bool { return len(sleeping(t, marker)) > 0 })
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if cmd.ProcessState.ExitCode() != 42 || stdout.String() != "got\n" {
				t.Errorf("%v, stdout %q; want exit status 42 and one signal", cmd.ProcessState, stdout.String())
			}
		})
	}
}

// startCaller starts a lab that the test ends by itself, or its clean-up if the test fails early.
func startCaller(t *testing.T, command ...string) *exec.Cmd {
	t.Helper()
	cmd := callerCommand(t, command...)
	start(t, cmd)
	return cmd
}

func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
}

// sleepTime is an argument of sleep(1) by which this test run's processes are recognised.
func sleepTime(test int) string {
	return fmt.Sprintf("9%d.%d%d", test, os.Getpid(), time.Now().Nanosecond())
}

// sleeping lists the command lines of the sleeps of this time, on the host and in all labs.
func sleeping(t *testing.T, marker string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // The process has ended since the listing.
		}
		line := strings.ReplaceAll(string(text), "\x00", " ")
		if strings.HasPrefix(line, "sleep "+marker) {
			found = append(found, line)
		}
	}
	return found
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
