// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownedTerminal returns the terminal that the command will read from, or nil if stdin is none or if this process is in its
// background: only the owner may lend it.
func ownedTerminal(stdin io.Reader) *os.File {
	file, isFile := stdin.(*os.File)
	if stdin == nil {
		file, isFile = os.Stdin, true
	}
	if !isFile || file == nil {
		return nil
	}
	owner, err := unix.IoctlGetInt(int(file.Fd()), unix.TIOCGPGRP)
	if err != nil || owner != unix.Getpgrp() {
		return nil
	}
	return file
}

// takeTerminal makes this process's group the foreground one again, after the command's group has ended with the lab.
// Without it, what the caller does next in a script would run in the background of its own terminal.
func takeTerminal(terminal *os.File) {
	// Changing the foreground from the background is what SIGTTOU stops.
	signal.Ignore(syscall.SIGTTOU)
	defer signal.Reset(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPGRP, unix.Getpgrp())
}
