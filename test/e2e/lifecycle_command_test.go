// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ended is how a command ended.
type ended struct {
	code           int
	stdout, stderr string
}

// finish runs cmd; a command that cannot be started fails the test.
func finish(t *testing.T, cmd *exec.Cmd) ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// sh runs a script that must succeed, and returns what it says.
func sh(t *testing.T, script string) string {
	t.Helper()
	d := finish(t, exec.Command("sh", "-ec", script))
	if d.code != 0 {
		t.Fatalf("%s: exit status %d: %s%s", script, d.code, d.stdout, d.stderr)
	}
	return d.stdout
}

// attempt runs flyover.
func attempt(t *testing.T, args ...string) ended {
	t.Helper()
	return finish(t, exec.Command("flyover", args...))
}

// flyover runs it, which must succeed and complain of nothing.
func flyover(t *testing.T, args ...string) string {
	t.Helper()
	d := attempt(t, args...)
	if d.code != 0 || d.stderr != "" {
		t.Fatalf("flyover %s: exit status %d, said:\n%s%s", strings.Join(args, " "), d.code, d.stdout, d.stderr)
	}
	return d.stdout
}

// refused checks that d failed with this status, and with a message that has all the words.
func (d ended) refused(t *testing.T, code int, words ...string) {
	t.Helper()
	if d.code != code || !strings.HasPrefix(d.stderr, "flyover: ") {
		t.Errorf("exit status %d, want %d, said:\n%s%s", d.code, code, d.stdout, d.stderr)
	}
	for _, w := range words {
		if !strings.Contains(d.stderr, w) {
			t.Errorf("no word of %q in: %s", w, d.stderr)
		}
	}
}

// noDrift checks that the host is as the last up left it.
func noDrift(t *testing.T) {
	t.Helper()
	var status struct {
		Up    bool
		Drift []map[string]string
	}
	if err := json.Unmarshal([]byte(flyover(t, "status", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if !status.Up || len(status.Drift) > 0 {
		t.Errorf("up %v, drift %v", status.Up, status.Drift)
	}
}

// forwards checks that the default network does what it is for.
func forwards(t *testing.T) {
	t.Helper()
	sh(t, `ip netns exec ns1 ping -q -c2 -i0.01 -W5 192.168.15.2
		ip netns exec ns2 ping -q -c2 -i0.01 -W5 192.168.15.1
		ip netns exec ns1 ping -q -c2 -i0.01 -W5 192.168.15.10
		ip netns exec ns2 ping -q -c2 -i0.01 -W5 203.0.113.1`)
}

// forwardsAs is forwards for the families of a configuration.
func forwardsAs(t *testing.T, config string) {
	t.Helper()
	if strings.Contains(config, "192.168.15.") {
		forwards(t)
	}
	if strings.Contains(config, "fd00:15:") {
		sh(t, `ip netns exec ns1 ping -q -c2 -i0.01 -W5 fd00:15::2
			ip netns exec ns2 ping -q -c2 -i0.01 -W5 fd00:15::1
			ip netns exec ns1 ping -q -c2 -i0.01 -W5 fd00:15::10
			ip netns exec ns2 ping -q -c2 -i0.01 -W5 2001:db8:ffff::1`)
	}
}

// configFile puts a configuration into a file.
func configFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "flyover.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
