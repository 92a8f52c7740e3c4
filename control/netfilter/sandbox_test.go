// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// sandbox moves the test to a network namespace of its own. The thread is never unlocked, so it ends with the test.
func sandbox(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root, to make a network namespace")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal("unshare:", err)
	}
}
