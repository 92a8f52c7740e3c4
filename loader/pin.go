// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"flyover/bpf"
)

const (
	// BPFFS is where the kernel's file system of pinned objects is, and where it is mounted if it is nowhere.
	BPFFS = "/sys/fs/bpf"
	// schema is the version of the maps' layout and of what their entries mean. Another one gets another number and another directory.
	schema = "v4"
)

// Pins is the directory of one schema's pinned objects: maps/NAME, progs/BUILD/POINT and progs/BUILD/twins, links/IFINDEX/POINT.
type Pins struct {
	top  string
	root string
}

// NewPins names the directories below the bpffs mounted at bpffs; it touches nothing.
func NewPins(bpffs string) Pins {
	top := filepath.Join(bpffs, "flyover")
	return Pins{top: top, root: filepath.Join(top, schema)}
}

// Root is the directory that holds everything.
func (p Pins) Root() string { return p.root }

// Maps is the directory of the maps.
func (p Pins) Maps() string { return filepath.Join(p.root, "maps") }

// Map is the pin of one map.
func (p Pins) Map(name string) string { return filepath.Join(p.Maps(), name) }

func (p Pins) progs() string { return filepath.Join(p.root, "progs") }

// Program is the pin of the program for a point in one generation.
func (p Pins) Program(build string, at Point) string {
	return filepath.Join(p.progs(), build, string(at))
}

// twins is the pin of the way from the programs of a generation to those for IPv6.
func (p Pins) twins(build string) string { return filepath.Join(p.progs(), build, "twins") }

func (p Pins) links() string { return filepath.Join(p.root, "links") }

// link is keyed by ifindex: bpffs refuses dots, which interface names may have, and a name may pass to another interface.
func (p Pins) link(ifindex int, at Point) string {
	return filepath.Join(p.links(), strconv.Itoa(ifindex), string(at))
}

// make creates the directories, root's alone, and refuses what somebody else has put there.
func (p Pins) make(dirs ...string) error {
	for _, dir := range append([]string{p.top, p.root}, dirs...) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make pin directory %s: %w", dir, err)
		}
	}
	return p.check()
}

// check refuses a pin directory that is a link, not root's, open to others, or not on a bpffs. Missing is fine.
func (p Pins) check() error {
	for _, dir := range []string{p.top, p.root} {
		info, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look at pin directory: %w", err)
		}
		if err := trusted(dir, info); err != nil {
			return err
		}
	}
	return nil
}

func trusted(dir string, info fs.FileInfo) error {
	var st unix.Stat_t
	var fsys unix.Statfs_t
	if !info.IsDir() {
		return fmt.Errorf("pin directory %s is %s, not a directory: remove it", dir, info.Mode().Type())
	}
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("look at pin directory %s: %w", dir, err)
	}
	if st.Uid != 0 || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("pin directory %s belongs to user %d with mode %04o, not to root with 0700: remove it", dir, st.Uid, info.Mode().Perm())
	}
	if err := unix.Statfs(dir, &fsys); err != nil {
		return fmt.Errorf("look at pin directory %s: %w", dir, err)
	}
	if fsys.Type != unix.BPF_FS_MAGIC {
		return fmt.Errorf("pin directory %s is not on a bpffs: mount one with `mount -t bpf bpf %s`", dir, filepath.Dir(dir))
	}
	return nil
}

// Fits refuses what is pinned already and cannot be gone on with: a table of another number of sessions, and another schema's pins.
func (p Pins) Fits(sessions uint32) error {
	others, err := p.otherSchemas()
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return fmt.Errorf("%s has the maps of another version of flyover; run `flyover down`, then `flyover up`: sessions end", others[0])
	}
	m, err := ebpf.LoadPinnedMap(p.Map(bpf.DatapathMapFoSessions4), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open map %s: %w", bpf.DatapathMapFoSessions4, err)
	}
	defer m.Close()
	if m.MaxEntries() != sessions {
		return fmt.Errorf("the host was set up for %d sessions, and the configuration has %d; run `flyover down`, then `flyover up`: "+
			"sessions end", m.MaxEntries(), sessions)
	}
	return nil
}

// otherSchemas are the directories of the schemas of other versions of flyover.
func (p Pins) otherSchemas() ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(p.top, "v[0-9]*"))
	if err != nil {
		return nil, fmt.Errorf("look for pins: %w", err)
	}
	return slices.DeleteFunc(dirs, func(dir string) bool { return dir == p.root }), nil
}

// removeEmpty removes dir and its parents up to bpffs as long as they are empty.
func (p Pins) removeEmpty(dir string) {
	for len(dir) >= len(p.top) {
		if os.Remove(dir) != nil {
			return
		}
		dir = filepath.Dir(dir)
	}
}
