// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"flyover/control/reconcile"
)

const sysctlDir = "/proc/sys"

// Sysctl is a kernel setting that goes back to its former value when it is removed.
type Sysctl struct {
	// Key is the path below /proc/sys, "net/ipv4/conf/eth0.100/forwarding": a dotted key cannot carry every interface name.
	Key   string
	Value string
	// Was is the value before ours. Empty: not known, so never restored.
	Was string
}

var (
	_ reconcile.Resource  = (*Sysctl)(nil)
	_ reconcile.Preparer  = (*Sysctl)(nil)
	_ reconcile.Inheritor = (*Sysctl)(nil)
	_ reconcile.Keeper    = (*Sysctl)(nil)
)

// Kind returns "sysctl".
func (*Sysctl) Kind() string { return "sysctl" }

// ID is the key.
func (s *Sysctl) ID() string { return s.Key }

// Observe implements reconcile.Resource. A missing file is an absent device. Nothing is foreign: the value before ours returns.
func (s *Sysctl) Observe(*reconcile.Survey, bool) (reconcile.Observation, error) {
	value, err := s.read()
	if errors.Is(err, fs.ErrNotExist) {
		return reconcile.Observation{}, nil
	}
	if err != nil {
		return reconcile.Observation{}, fmt.Errorf("observe sysctl %s: %w", s.Key, err)
	}
	if value == s.Value {
		return reconcile.Observation{Status: reconcile.Same}, nil
	}
	return reconcile.Observation{Status: reconcile.Different, Detail: value + " -> " + s.Value}, nil
}

// Prepare remembers the value that Remove restores. A device that is yet to be made has none.
func (s *Sysctl) Prepare() error {
	value, err := s.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read sysctl %s: %w", s.Key, err)
	}
	s.Was = value
	return nil
}

// Inherit implements reconcile.Inheritor: the value before ours was there before any of ours.
func (s *Sysctl) Inherit(owned reconcile.Resource) {
	if o, ok := owned.(*Sysctl); ok {
		s.Was = o.Was
	}
}

// Apply implements reconcile.Resource.
func (s *Sysctl) Apply() error { return cause("set sysctl "+s.Key, s.write(s.Value)) }

// Keeps implements reconcile.Keeper: the former value is not known, or was no other one.
func (s *Sysctl) Keeps() bool { return s.Was == "" || s.Was == s.Value }

// Remove restores the former value.
func (s *Sysctl) Remove() error {
	if s.Keeps() {
		return nil
	}
	return cause("restore sysctl "+s.Key, unlessMissing(s.write(s.Was)))
}

func (s *Sysctl) read() (string, error) {
	path, err := s.path()
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	// Values of several numbers are set with spaces and read back with tabs.
	return strings.Join(strings.Fields(string(data)), " "), err
}

func (s *Sysctl) write(value string) error {
	path, err := s.path()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(value)
	return errors.Join(err, file.Close())
}

// path refuses a key that leaves /proc/sys: keys are made of names, and come back from a file.
func (s *Sysctl) path() (string, error) {
	if !filepath.IsLocal(s.Key) {
		return "", fmt.Errorf("key %q is not a path below %s", s.Key, sysctlDir)
	}
	return filepath.Join(sysctlDir, s.Key), nil
}
