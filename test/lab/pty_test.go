// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// openTerminal returns a new terminal and its far end, which types and reads the screen, for at most 30 s.
func openTerminal(t *testing.T) (terminal, typed *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("open terminal: %v", err)
	}
	typed = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { typed.Close() })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatalf("number of terminal: %v", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatalf("unlock terminal: %v", err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("open terminal: %v", err)
	}
	if err := typed.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatalf("limit reading: %v", err)
	}
	return terminal, typed
}
