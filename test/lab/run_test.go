// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"flyover/test/lab"
)

func TestExitStatus(t *testing.T) {
	requireRoot(t)
	for _, test := range []struct {
		name    string
		command []string
		want    int
		stderr  string
	}{
		{"success", []string{"true"}, 0, ""},
		{"failure", []string{"sh", "-c", "exit 7"}, 7, ""},
		{"signal", []string{"sh", "-c", "kill -SEGV $$"}, 128 + 11, ""},
		{"not found", []string{"no-such-program"}, lab.ExitNotFound, "no-such-program: command not found"},
		{"no such path", []string{"/no/such/program"}, lab.ExitNotFound, "no such file"},
		{"not executable", []string{"/etc/passwd"}, lab.ExitNotExecutable, "permission denied"},
		{"directory", []string{"/etc"}, lab.ExitNotExecutable, "is a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stderr bytes.Buffer
			code, err := lab.Run(t.Context(), lab.Options{Command: test.command, Stderr: &stderr})
			if err != nil || code != test.want {
				t.Errorf("Run = %d, %v; want %d", code, err, test.want)
			}
			if !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("stderr = %q, want %q in it", stderr.String(), test.stderr)
			}
		})
	}
}

func TestStreams(t *testing.T) {
	requireRoot(t)
	var stdout, stderr bytes.Buffer
	code, err := lab.Run(t.Context(), lab.Options{
		Command: []string{"sh", "-c", `cat; echo "$WORD" >&2`},
		Env:     []string{"WORD=to stderr"},
		Stdin:   strings.NewReader("through stdin"),
		Stdout:  &stdout,
		Stderr:  &stderr,
	})
	if code != 0 || err != nil {
		t.Fatalf("Run = %d, %v", code, err)
	}
	if stdout.String() != "through stdin" || stderr.String() != "to stderr\n" {
		t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
	}
}

func TestNoCommand(t *testing.T) {
	if _, err := lab.Run(t.Context(), lab.Options{}); err == nil {
		t.Error("Run without a command succeeded")
	}
}

func TestSetup(t *testing.T) {
	output(t, "test -f /run/flyover/setup-ran")

	t.Setenv(setupEnv, "no good")
	code, err := lab.Run(t.Context(), lab.Options{Command: []string{"true"}})
	if code != 2 || err == nil || !strings.Contains(err.Error(), "no good") {
		t.Errorf("Run = %d, %v; want 2, no good", code, err)
	}
}

func TestContext(t *testing.T) {
	requireRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	code, err := lab.Run(ctx, lab.Options{Command: []string{"sleep", "60"}})
	if !errors.Is(err, context.DeadlineExceeded) || code != 128+int(syscall.SIGTERM) {
		t.Errorf("Run = %d, %v", code, err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("Run took %v", took)
	}
}

func TestPrivilege(t *testing.T) {
	cmd := callerCommand(t, "true")
	cmd.Path = copyForNobody(t, cmd.Path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	text, err := cmd.CombinedOutput()
	var exited *exec.ExitError
	if !errors.As(err, &exited) || exited.ExitCode() != 1 || !strings.Contains(string(text), lab.ErrPrivilege.Error()) {
		t.Errorf("as nobody: %v, output %q", err, text)
	}
}

// copyForNobody puts the binary where an ordinary user may execute it.
func copyForNobody(t *testing.T, binary string) string {
	t.Helper()
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "lab-nobody")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := dir + "/lab.test"
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
