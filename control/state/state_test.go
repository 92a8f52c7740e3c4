// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/control/reconcile"
)

// object is a resource that is nothing but its name.
type object struct{ Name string }

func (object) Kind() string                                                       { return "object" }
func (o object) ID() string                                                       { return o.Name }
func (object) Observe(*reconcile.Survey, bool) (o reconcile.Observation, _ error) { return o, nil }
func (object) Apply() error                                                       { return nil }
func (object) Remove() error                                                      { return nil }

func decodeObject(kind string, data []byte) (reconcile.Resource, error) {
	var o object
	if kind != o.Kind() {
		return nil, fmt.Errorf("kind %q is unknown", kind)
	}
	err := json.Unmarshal(data, &o)
	return o, err
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, decodeObject)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSavedResourcesComeBackInOrder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "flyover")
	want := []reconcile.Resource{object{"b"}, object{"a"}}
	s := open(t, dir)
	if err := errors.Join(s.Save(want, true), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	have, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
}

// What a run that did not come to its end has written is told from the rest.
func TestUnsettled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "flyover")
	want := []reconcile.Resource{object{"a"}}
	for _, settled := range []bool{false, true} {
		s := open(t, dir)
		if err := errors.Join(s.Save(want, settled), s.Close()); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		have, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, have); diff != "" || s.Settled() != settled {
			t.Errorf("settled is %v, want %v; %s", s.Settled(), settled, diff)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnEmptyStateLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "flyover")
	s := open(t, dir)
	if err := errors.Join(s.Save([]reconcile.Resource{object{"a"}}, true), s.Save(nil, true), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stat of the directory: %v", err)
	}
}

func TestASecondWriterIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "flyover")
	s := open(t, dir)
	if _, err := Open(dir, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("second open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Close(); err != nil {
		t.Error(err)
	}
}

func TestReadRefusesWhatItDoesNotUnderstand(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"torn":          {`{"Version":1,"Resour`, "unexpected end of JSON input"},
		"other layout":  {`{"Version":2}`, "layout 2 is not this flyover's (1)"},
		"unknown kind":  {`{"Version":1,"Resources":[{"Kind":"x","Data":{}}]}`, `kind "x" is unknown`},
		"another shape": {`[]`, "cannot unmarshal array"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(path(dir), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Read(dir, decodeObject)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path(dir)) {
				t.Errorf("error %v, want one with the path and %q", err, test.want)
			}
		})
	}
}
