// SPDX-License-Identifier: Apache-2.0

// Package state is what flyover remembers between two runs: the list of what it made. The kernel is the truth; the file only
// says what of it is ours.
package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// Dir is where the state lies. It is gone after a reboot, as is everything that it speaks of.
const Dir = "/run/flyover"

// version of the file's layout.
const version = 1

// Decoder brings back a resource from what the file holds.
type Decoder func(kind string, data []byte) (reconcile.Resource, error)

// Store is the opened, locked state. One process has it at a time.
type Store struct {
	dir    string
	lock   *os.File
	decode Decoder
	// saved is what this process has written last.
	saved []byte
	// settled is what Load found, see Settled.
	settled bool
}

type file struct {
	Version int
	// Unsettled says that a run was under way when the file was written: not everything listed need be there. Left out otherwise.
	Unsettled bool
	Resources []item
}

type item struct {
	Kind string
	Data json.RawMessage
}

// ErrBusy says that another flyover is changing the host.
var ErrBusy = errors.New("another flyover is at work")

// Open locks the state in dir for writing; the caller closes it. ErrBusy if another process has it.
func Open(dir string, decode Decoder) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, ErrBusy)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &Store{dir: dir, lock: lock, decode: decode}, nil
}

// Close gives the lock back. An empty state leaves no directory behind.
func (s *Store) Close() error {
	os.Remove(temporary(s.dir))
	if _, err := os.Stat(path(s.dir)); errors.Is(err, fs.ErrNotExist) {
		os.Remove(s.lock.Name())
		os.Remove(s.dir)
	}
	return s.lock.Close()
}

// Load returns what is ours, in the order in which it was made.
func (s *Store) Load() (resources []reconcile.Resource, err error) {
	resources, s.settled, err = read(s.dir, s.decode)
	return resources, err
}

// Settled says that the run which wrote what Load has returned came to its end: everything listed was there then.
func (s *Store) Settled() bool { return s.settled }

// Read is Load without a lock, for those who only look.
func Read(dir string, decode Decoder) ([]reconcile.Resource, error) {
	resources, _, err := read(dir, decode)
	return resources, err
}

func read(dir string, decode Decoder) (resources []reconcile.Resource, settled bool, err error) {
	data, err := os.ReadFile(path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read state: %w", err)
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, false, fmt.Errorf("read state %s: %w", path(dir), err)
	}
	if f.Version != version {
		return nil, false, fmt.Errorf("read state %s: layout %d is not this flyover's (%d): run `flyover down` of the version that wrote it", path(dir), f.Version, version)
	}
	for _, it := range f.Resources {
		r, err := decode(it.Kind, it.Data)
		if err != nil {
			return nil, false, fmt.Errorf("read state %s: %w", path(dir), err)
		}
		resources = append(resources, r)
	}
	return resources, !f.Unsettled, nil
}

// Save replaces what is ours; settled says that all of it is there. After a crash the file holds the old list or the new one, whole. An
// empty list leaves no file.
func (s *Store) Save(resources []reconcile.Resource, settled bool) error {
	if len(resources) == 0 {
		s.saved = nil
		if err := os.Remove(path(s.dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove state: %w", err)
		}
		return nil
	}
	data, err := encode(resources, settled)
	if err != nil || bytes.Equal(data, s.saved) {
		return err
	}
	if err := replace(path(s.dir), data); err != nil {
		return err
	}
	s.saved = data
	return nil
}

// encode returns the file as JSON with one object a line.
func encode(resources []reconcile.Resource, settled bool) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"Version":%d,`, version)
	if !settled {
		b.WriteString(`"Unsettled":true,`)
	}
	b.WriteString(`"Resources":[`)
	for i, r := range resources {
		if i > 0 {
			b.WriteByte(',')
		}
		data, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("write %s to state: %w", reconcile.Name(r), err)
		}
		fmt.Fprintf(&b, "\n"+`{"Kind":%q,"Data":%s}`, r.Kind(), data)
	}
	b.WriteString("\n")
	b.WriteString("]}\n")
	return b.Bytes(), nil
}

func replace(name string, data []byte) error {
	// The lock lets one process write, so the name can be fixed: what a crash leaves of it is overwritten or removed.
	tmp, err := os.OpenFile(temporary(filepath.Dir(name)), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write state: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

func temporary(dir string) string { return filepath.Join(dir, "state.json.tmp") }

func path(dir string) string { return filepath.Join(dir, "state.json") }
