// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// self is the network namespace of the calling thread.
const self = "/proc/thread-self/ns/net"

// newNamespace returns a file descriptor of a fresh network namespace. Only a namespace of the thread can be made, so a thread is
// spent on it: its goroutine never unlocks it, and the runtime ends it. It goes back to its former namespace nevertheless,
// because the process's first thread is parked for ever instead of ended, and /proc/self shows that thread.
func newNamespace() (int, error) {
	type result struct {
		fd  int
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread()
		fd, err := unshareNamespace()
		made <- result{fd, err}
	}()
	r := <-made
	return r.fd, r.err
}

// enter calls do on a thread in the namespace of the handle: /proc/sys shows the namespace of whoever opens a file there.
func (h handle) enter(do func() error) error {
	if h.fd < 0 {
		return do()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // as in newNamespace
		done <- enterNamespace(h.fd, do)
	}()
	return <-done
}

func enterNamespace(fd int, do func() error) error {
	former, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: self, Err: err}
	}
	defer unix.Close(former)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err = do()
	if back := unix.Setns(former, unix.CLONE_NEWNET); back != nil {
		return fmt.Errorf("return to the host's network namespace: %w", back)
	}
	return err
}

func unshareNamespace() (int, error) {
	former, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: self, Err: err}
	}
	defer unix.Close(former)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return -1, fmt.Errorf("unshare network namespace: %w", err)
	}
	fd, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err := unix.Setns(former, unix.CLONE_NEWNET); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("return to the host's network namespace: %w", err)
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: self, Err: err}
	}
	return fd, nil
}

// shareNamespaceDir makes /run/netns a shared mount point, as iproute2 does, so that the namespaces mounted in it are seen in
// other mount namespaces, and their deletion too. What is mounted there later is shared by itself.
func shareNamespaceDir() error {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", namespaceDir, "none", unix.MS_SHARED, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err := unix.Mount(namespaceDir, namespaceDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return &os.PathError{Op: "bind", Path: namespaceDir, Err: err}
		}
		err = unix.Mount("", namespaceDir, "none", unix.MS_SHARED, "")
	}
	if err != nil {
		return &os.PathError{Op: "share", Path: namespaceDir, Err: err}
	}
	return nil
}
