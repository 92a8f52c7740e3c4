// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// dumpAttempts bounds the retries of a dump that changes of the table keep interrupting.
const dumpAttempts = 10

// dump runs a netlink dump again while the kernel says that the table changed underneath it: the library hands out the
// incomplete result together with the error.
func dump[T any](list func() (T, error)) (T, error) {
	for range dumpAttempts - 1 {
		if res, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return res, err
		}
	}
	return list()
}

// handle is netlink in one network namespace.
type handle struct {
	*netlink.Handle
	// fd of the namespace, -1 for that of the calling thread.
	fd int
}

// host is netlink in the namespace of the calling thread: a handle without sockets opens one for each request.
func host() handle { return handle{Handle: &netlink.Handle{}, fd: -1} }

// here calls do with a handle in the namespace of the calling thread that keeps its socket: several requests take one.
func here(do func(handle) error) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	defer h.Close()
	return do(handle{Handle: h, fd: -1})
}

// within calls do with a handle in the named namespace, or in the calling thread's when name is empty. The error is
// fs.ErrNotExist when there is no such namespace.
func within(name string, do func(handle) error) error {
	if name == "" {
		return here(do)
	}
	fd, err := openNamespace(name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	h, err := handleAt(netns.NsHandle(fd))
	if err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	defer h.Close()
	return do(handle{Handle: h, fd: fd})
}

// openNamespace returns a file descriptor of the named namespace. The error is fs.ErrNotExist when there is none.
func openNamespace(name string) (int, error) {
	path := namespacePath(name)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		unix.Close(fd)
		return -1, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	if st.Type != unix.NSFS_MAGIC {
		unix.Close(fd)
		return -1, fmt.Errorf("namespace %s: nothing mounted: %w", name, fs.ErrNotExist)
	}
	return fd, nil
}

// entrance is where a thread waits to open handles in namespaces. A thread of its own for each would take ten times as long.
var entrance = struct {
	open     sync.Once
	requests chan entry
}{requests: make(chan entry)}

type entry struct {
	namespace netns.NsHandle
	entered   chan<- entered
}

type entered struct {
	handle *netlink.Handle
	err    error
}

// handleAt opens a handle in the namespace. The library would enter it for that, and does not say when it could not come back.
func handleAt(ns netns.NsHandle) (*netlink.Handle, error) {
	entrance.open.Do(func() { go attend() })
	answer := make(chan entered)
	entrance.requests <- entry{ns, answer}
	e := <-answer
	return e.handle, e.err
}

// attend serves the entrance on a thread that does nothing else, so that nobody minds which namespace it is in. It goes home each time
// nevertheless: it may be the process's first thread, which is the one that /proc/self shows.
func attend() {
	runtime.LockOSThread()
	home, homeless := netns.Get()
	for next := range entrance.requests {
		h, err := (*netlink.Handle)(nil), homeless
		if err == nil {
			err = netns.Set(next.namespace)
		}
		if err == nil {
			h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
			_ = netns.Set(home)
		}
		next.entered <- entered{h, err}
	}
}

// onDevice calls do with the device in the namespace. The error is fs.ErrNotExist when either is missing.
func onDevice(namespace, device string, do func(handle, netlink.Link) error) error {
	return within(namespace, func(h handle) error {
		l, err := findLink(h, device)
		if err != nil {
			return err
		}
		if l == nil {
			return fmt.Errorf("interface %s: %w", device, fs.ErrNotExist)
		}
		return do(h, l)
	})
}

// unlessMissing returns err, or nil when it says that the object, or what it was on, is gone.
func unlessMissing(err error) error {
	for _, gone := range []error{fs.ErrNotExist, unix.ENOENT, unix.ENODEV, unix.ESRCH, unix.EADDRNOTAVAIL} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}
