// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const inert = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mount is one file system of the lab.
type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// mounts in their order: /sys hides what was mounted below it, and all of /run is new because making /run/netns in the
// real one would leave a trace on the host.
var mounts = []mount{
	{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
	{"proc", "/proc", "proc", inert, ""},
	{"sysfs", "/sys", "sysfs", inert, ""},
	{"bpffs", "/sys/fs/bpf", "bpf", inert, "mode=0700"},
	{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
}

func mountAll() error {
	varRun, err := filepath.EvalSymlinks("/var/run")
	separate := err == nil && varRun != "/run"
	for _, m := range mounts {
		if err := m.mount(); err != nil {
			return err
		}
	}
	if separate {
		// ip(8) looks for named namespaces in /var/run, which is not a link to /run everywhere.
		if err := (mount{"/run", varRun, "", unix.MS_BIND, ""}).mount(); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/run/netns", "/run/flyover"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make lab directory: %w", err)
		}
	}
	return nil
}

func (m mount) mount() error {
	if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
	}
	return nil
}
