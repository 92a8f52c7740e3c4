// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
	"flyover/loader"
)

// BPFFS is the file system of pinned objects at its usual place, mounted by us if nobody else did.
type BPFFS struct {
	// Mounted says that it was not there before us, so Remove unmounts it.
	Mounted bool
}

var (
	_ reconcile.Preparer  = (*BPFFS)(nil)
	_ reconcile.Inheritor = (*BPFFS)(nil)
	_ reconcile.Lingerer  = (*BPFFS)(nil)
	_ reconcile.Keeper    = (*BPFFS)(nil)
)

// Kind returns "bpffs".
func (*BPFFS) Kind() string { return "bpffs" }

// ID is the mount point.
func (*BPFFS) ID() string { return loader.BPFFS }

// Lingers implements reconcile.Lingerer.
func (*BPFFS) Lingers() {}

// Keeps implements reconcile.Keeper: somebody else mounted it.
func (b *BPFFS) Keeps() bool { return !b.Mounted }

// Observe implements reconcile.Resource. Pin directories that somebody else has put there are foreign.
func (b *BPFFS) Observe(*reconcile.Survey, bool) (reconcile.Observation, error) {
	mounted, err := isBPFFS(loader.BPFFS)
	if err != nil || !mounted {
		return reconcile.Observation{}, err
	}
	if err := pins.Check(); err != nil {
		return reconcile.Observation{Status: reconcile.Foreign, Detail: err.Error()}, nil
	}
	return reconcile.Observation{Status: reconcile.Same}, nil
}

// Prepare implements reconcile.Preparer: it remembers whether the mount was there before us.
func (b *BPFFS) Prepare() error {
	mounted, err := isBPFFS(loader.BPFFS)
	b.Mounted = !mounted
	return err
}

// Inherit implements reconcile.Inheritor.
func (b *BPFFS) Inherit(owned reconcile.Resource) {
	if was, ok := owned.(*BPFFS); ok {
		b.Mounted = was.Mounted
	}
}

// Apply implements reconcile.Resource.
func (b *BPFFS) Apply() error {
	if err := unix.Mount("bpf", loader.BPFFS, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount bpffs on %s: %w", loader.BPFFS, err)
	}
	return nil
}

// Remove implements reconcile.Resource. A bpffs that was there before us, or that others use by now, stays.
func (b *BPFFS) Remove() error {
	mounted, err := isBPFFS(loader.BPFFS)
	if err != nil || !mounted || b.Keeps() {
		return err
	}
	err = unix.Unmount(loader.BPFFS, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unmount bpffs from %s: %w", loader.BPFFS, err)
	}
	return nil
}

func isBPFFS(path string) (bool, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, fmt.Errorf("look at %s: no such directory: mount sysfs on /sys, and see that the kernel has CONFIG_BPF_SYSCALL", path)
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	return st.Type == unix.BPF_FS_MAGIC, nil
}
