// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

const namespaceDir = "/run/netns"

// Namespace is a named network namespace under /run/netns, as `ip netns add` makes it, with its loopback up.
type Namespace struct {
	Name string
}

var _ reconcile.Resource = Namespace{}

// Kind returns "namespace".
func (Namespace) Kind() string { return "namespace" }

// ID is the name.
func (n Namespace) ID() string { return n.Name }

func namespacePath(name string) string { return filepath.Join(namespaceDir, name) }

// Observe implements reconcile.Resource. A file that nothing is mounted on is what a crash between the two steps leaves.
func (n Namespace) Observe(s *reconcile.Survey, owned bool) (reconcile.Observation, error) {
	mounted, err := isNamespace(namespacePath(n.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return reconcile.Observation{}, nil
	}
	if err != nil {
		return reconcile.Observation{}, fmt.Errorf("observe namespace %s: %w", n.Name, err)
	}
	if !owned {
		detail := fmt.Sprintf("namespace %s exists, not made by flyover", n.Name)
		return reconcile.Observation{Status: reconcile.Foreign, Detail: detail}, nil
	}
	var c changes
	if c.note("no namespace mounted on its file", !mounted); mounted {
		var lo *link
		_, lo, err = deviceIn(s, n.Name, "lo")
		c.note("lo down -> up", lo == nil || !isUp(lo))
	}
	return c.observation(), cause("observe namespace "+n.Name, err)
}

// Apply implements reconcile.Resource.
func (n Namespace) Apply() error {
	return cause("create namespace "+n.Name, n.apply())
}

// Create implements reconcile.Creator: a namespace carries no mark of whose it is.
func (n Namespace) Create() error {
	_, err := os.Lstat(namespacePath(n.Name))
	if err == nil {
		return fmt.Errorf("create namespace %s: somebody else has just made one of that name", n.Name)
	}
	return n.Apply()
}

func (n Namespace) apply() error {
	if err := shareNamespaceDir(); err != nil {
		return err
	}
	path := namespacePath(n.Name)
	mounted, err := isNamespace(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !mounted {
		if err := mountNamespace(path); err != nil {
			return errors.Join(err, reconcile.NotUndone(unmountNamespace(path)))
		}
	}
	err = onDevice(n.Name, "lo", setUp)
	if err != nil && !mounted {
		return errors.Join(err, reconcile.NotUndone(unmountNamespace(path)))
	}
	return err
}

// Remove implements reconcile.Resource. Processes inside keep the namespace alive without its name.
func (n Namespace) Remove() error {
	return cause("remove namespace "+n.Name, unmountNamespace(namespacePath(n.Name)))
}

var _ reconcile.Carrier = Namespace{}

// RemoveAll implements reconcile.Carrier. Names that go one soon after the other let the kernel clear the namespaces up together.
func (Namespace) RemoveAll(namespaces []reconcile.Resource) []error {
	errs := make([]error, len(namespaces))
	for i, n := range namespaces {
		errs[i] = n.Remove()
	}
	return errs
}

// isNamespace says whether a namespace is mounted on path. The error is fs.ErrNotExist when the file is missing.
func isNamespace(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return st.Type == unix.NSFS_MAGIC, nil
}

// mountNamespace makes a namespace and mounts it on path, in the mount namespace of the calling thread.
func mountNamespace(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	file.Close()
	fd, err := newNamespace()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	source := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err := unix.Mount(source, path, "none", unix.MS_BIND, ""); err != nil {
		return &os.LinkError{Op: "mount", Old: source, New: path, Err: err}
	}
	return nil
}

// unmountNamespace deletes path with whatever is mounted on it, layer by layer.
func unmountNamespace(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return &fs.PathError{Op: "unmount", Path: path, Err: err}
		}
	}
	return unlessMissing(os.Remove(path))
}
