// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// runCommand starts the command, serves as the lab's init while it runs and returns its exit status.
func runCommand(spec spec, child *relay) int {
	name := spec.Command[0]
	path, err := exec.LookPath(name)
	if err != nil {
		return startStatus(name, errors.Unwrap(err))
	}
	// Not os/exec: its Wait and the reaping of orphans would compete for the same exit status.
	pid, err := syscall.ForkExec(path, spec.Command, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		// A shell that finds itself leading the foreground group controls jobs as on any terminal.
		Sys: &syscall.SysProcAttr{Foreground: spec.Foreground, Setpgid: spec.Foreground},
	})
	if err != nil {
		return startStatus(name, err)
	}
	child.pid.Store(int64(pid))
	return reap(pid)
}

func startStatus(name string, err error) int {
	if errors.Is(err, exec.ErrNotFound) {
		err = errors.New("command not found")
	}
	fmt.Fprintf(os.Stderr, "flyover lab: run %s: %v\n", name, err)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOEXEC) {
		return ExitNotExecutable
	}
	return ExitNotFound
}

// reap collects every child, orphans included, until the command itself has ended.
func reap(command int) int {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WUNTRACED, nil)
		switch {
		case err == syscall.EINTR || pid != command && err == nil:
		case err != nil:
			fmt.Fprintf(os.Stderr, "flyover lab: wait for command: %v\n", err)
			return 1
		case !status.Stopped():
			return exitStatus(status)
		case status.StopSignal() == syscall.SIGTSTP:
			// Nobody in the lab could continue it after ctrl-Z, and the caller's shell does not see that it stopped.
			_ = unix.Kill(command, unix.SIGCONT)
		}
	}
}

func exitStatus(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
