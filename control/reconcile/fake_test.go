// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

var errInjected = errors.New("injected")

// fakeHost is a host that is nothing but named values. It fails the step before which failAt further steps succeeded.
type fakeHost struct {
	objects map[string]string
	foreign map[string]bool
	calls   []string
	failAt  int // negative: never
}

func newFakeHost() *fakeHost {
	return &fakeHost{objects: map[string]string{}, foreign: map[string]bool{}, failAt: -1}
}

func (h *fakeHost) step(format string, args ...any) error {
	h.calls = append(h.calls, fmt.Sprintf(format, args...))
	h.failAt--
	if h.failAt == -1 {
		return errInjected
	}
	return nil
}

func (h *fakeHost) state() map[string]string { return maps.Clone(h.objects) }

// fake is an object with a value. It can be there only together with the object that it is on.
type fake struct {
	host            *fakeHost
	name, value, on string
}

func (f fake) Kind() string { return "fake" }
func (f fake) ID() string   { return f.name }

func (f fake) Observe(*Survey, bool) (Observation, error) {
	value, ok := f.host.objects[f.name]
	switch {
	case f.host.foreign[f.name]:
		return Observation{Status: Foreign, Detail: f.name + " is foreign"}, nil
	case !ok:
		return Observation{}, nil
	case value != f.value:
		return Observation{Status: Different, Detail: value + " -> " + f.value}, nil
	}
	return Observation{Status: Same}, nil
}

func (f fake) Apply() error {
	if err := f.host.step("apply %s=%s", f.name, f.value); err != nil {
		return err
	}
	if _, ok := f.host.objects[f.on]; f.on != "" && !ok {
		return fmt.Errorf("apply %s: no %s", f.name, f.on)
	}
	f.host.objects[f.name] = f.value
	return nil
}

func (f fake) Remove() error {
	if err := f.host.step("remove %s", f.name); err != nil {
		return err
	}
	delete(f.host.objects, f.name)
	return nil
}

// setting is a value that was there before us and comes back.
type setting struct {
	fake
	was string
}

func (s *setting) Prepare() error {
	s.was = s.host.objects[s.name]
	return nil
}

func (s *setting) Inherit(owned Resource) { s.was = owned.(*setting).was }

func (s *setting) Remove() error {
	if err := s.host.step("restore %s=%s", s.name, s.was); err != nil {
		return err
	}
	if s.host.objects[s.name] = s.was; s.was == "" {
		delete(s.host.objects, s.name)
	}
	return nil
}

func sorted(m map[string]string) string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, k+"="+m[k])
	}
	return fmt.Sprint(lines)
}
