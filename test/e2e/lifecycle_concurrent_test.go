// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"flyover/test/lab/labtest"
)

// halfway starts up and stops it in the middle; the caller lets it go on.
func halfway(t *testing.T) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	for range 20 {
		var output bytes.Buffer
		cmd := exec.Command("flyover", "up")
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		until(t, "a namespace", func() bool { _, err := os.Stat("/run/netns/ns1"); return err == nil })
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if len(sh(t, "ip netns list | grep ns2 || :")) == 0 {
			return cmd, &output
		}
		_ = cmd.Process.Signal(syscall.SIGCONT) // it was too fast
		_ = cmd.Wait()
		flyover(t, "down")
	}
	t.Fatal("up was never caught half way")
	return nil, nil
}

func TestTwoAtOnce(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		cmd, output := halfway(t)
		attempt(t, "up").refused(t, 1, "another flyover is at work")
		attempt(t, "down").refused(t, 1, "another flyover is at work")
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, output)
		}
		noDrift(t)
		forwards(t)
	})
}

func TestInterruptedUpIsUndone(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			labtest.Alone(t, func(t *testing.T) {
				before := takeDump(t)
				cmd, output := halfway(t)
				for _, s := range []syscall.Signal{sig, syscall.SIGCONT} {
					if err := cmd.Process.Signal(s); err != nil {
						t.Fatal(err)
					}
				}
				_ = cmd.Wait()
				if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(output.String(), "flyover: up: stop before create") {
					t.Errorf("%v: %s", cmd.ProcessState, output)
				}
				sameDump(t, "by an interrupted up", before)
			})
		})
	}
}

// The last namespace appears, made by somebody else, between the look at the host and the step that would make it.
func TestLateForeignNamespaceIsKept(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		sh(t, "ip netns add ns2")
		before := takeDump(t)
		sh(t, "ip netns del ns2")
		cmd, output := halfway(t)
		sh(t, "ip netns add ns2")
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(output.String(), "ns2") {
			t.Errorf("%v: %s", cmd.ProcessState, output)
		}
		sameDump(t, "by up that found ns2 late", before)
	})
}

// ctrl-C in a terminal goes to the whole process group of the lab's caller.
func TestInterruptedLabLeavesNothing(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		before := takeDump(t)
		marker := t.TempDir() + "/up"
		cmd := exec.Command("flyover", "lab", "run", "--", "sh", "-c", "touch "+marker+"; exec sleep 1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		until(t, "the lab", func() bool { _, err := os.Stat(marker); return err == nil })
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("exit status %d, want 130", code)
		}
		sameDump(t, "by an interrupted lab", before)
		if left := sh(t, "ps -e -o args= | grep '^sleep 1000' || :"); left != "" {
			t.Errorf("left running: %s", left)
		}
	})
}
