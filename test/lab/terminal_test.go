// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestShellOnTerminal types into an interactive shell in a lab: job control works, ctrl-C ends only the foreground job, ctrl-Z
// only stops it, and the caller has its terminal back afterwards.
func TestShellOnTerminal(t *testing.T) {
	terminal, typed := openTerminal(t)
	cmd := callerCommand(t, "unused")
	// An outer shell without job control is the caller of the lab: it would not take the terminal back by itself.
	cmd = &exec.Cmd{
		Path: "/bin/sh",
		Args: []string{"sh", "-c", `"$0" bash --norc --noediting -i; echo "left with $?"; read word; echo "read <$word>"`, cmd.Path},
		Env:  append(cmd.Env, "PS1=$ ", "TERM=dumb", "HISTFILE="),
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	start(t, cmd)
	terminal.Close()

	screen := &screen{t: t, typed: typed}
	screen.expect("$ ")
	screen.enter("sleep 61; echo status=$?")
	screen.untilForeground("sleep")
	screen.enter("\x03")
	screen.enter("echo interrupted=$?")
	screen.expect("interrupted=130")
	screen.enter("sleep 62")
	screen.untilForeground("sleep")
	screen.enter("\x1a")
	screen.expect("Stopped")
	screen.enter("jobs | wc -l | sed s/^/jobs=/")
	screen.expect("jobs=1")
	screen.enter("fg")
	screen.untilForeground("sleep")
	screen.enter("\x03")
	screen.enter("exit 5")
	screen.expect("left with 5")
	screen.enter("again")
	screen.expect("read <again>")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if text := screen.text.String(); strings.Contains(text, "no job control") {
		t.Errorf("the shell has no job control:\n%s", text)
	}
}

// TestStopOnTerminal presses ctrl-Z on a command that is no shell, which would hang if it stayed stopped.
func TestStopOnTerminal(t *testing.T) {
	terminal, typed := openTerminal(t)
	cmd := callerCommand(t, "sh", "-c", "echo ready; read word; echo read $word")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	start(t, cmd)
	terminal.Close()
	screen := &screen{t: t, typed: typed}
	screen.expect("ready")
	screen.press("\x1a")
	screen.enter("on")
	screen.expect("read on")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// screen is the far end of a terminal.
type screen struct {
	t     *testing.T
	typed *os.File
	text  strings.Builder
	seen  int
}

func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.typed, keys); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) enter(line string) {
	s.t.Helper()
	s.press(line + "\n")
}

// expect reads on until the text appears after what was expected last.
func (s *screen) expect(text string) {
	s.t.Helper()
	buffer := make([]byte, 4096)
	for {
		if at := strings.Index(s.text.String()[s.seen:], text); at >= 0 {
			s.seen += at + len(text)
			return
		}
		n, err := s.typed.Read(buffer)
		if err != nil {
			s.t.Fatalf("waiting for %q: %v, screen:\n%s", text, err, s.text.String())
		}
		s.text.Write(buffer[:n])
	}
}

// untilForeground waits until the terminal belongs to a process of this name.
func (s *screen) untilForeground(name string) {
	s.t.Helper()
	waitFor(s.t, name+" in the foreground", func() bool {
		group, err := unix.IoctlGetInt(int(s.typed.Fd()), unix.TIOCGPGRP)
		if err != nil {
			return false
		}
		comm, _ := os.ReadFile("/proc/" + itoa(group) + "/comm")
		return strings.TrimSpace(string(comm)) == name
	})
}
