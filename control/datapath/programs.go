// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"slices"

	"flyover/control/reconcile"
)

// Programs are the loaded programs of one build, pinned, and the pinned maps that all builds share.
type Programs struct {
	// Build of the programs, see loader.Build.
	Build string
}

var _ reconcile.Lingerer = (*Programs)(nil)

// Kind returns "programs".
func (*Programs) Kind() string { return "programs" }

// ID is the directory of the pins.
func (*Programs) ID() string { return pins.Root() }

// Lingers implements reconcile.Lingerer.
func (*Programs) Lingers() {}

// Observe implements reconcile.Resource.
func (p *Programs) Observe(bool) (reconcile.Observation, error) {
	if pins.HasPrograms(p.Build) {
		return reconcile.Observation{Status: reconcile.Same}, nil
	}
	builds, err := pins.Generations()
	if err != nil || len(builds) == 0 {
		return reconcile.Observation{}, err
	}
	return reconcile.Observation{Status: reconcile.Different, Detail: "build " + builds[0] + " -> " + p.Build}, nil
}

// Apply implements reconcile.Resource: the programs are there, whole, and attached nowhere yet. If they cannot be, what was there
// before stays, and nothing else.
func (p *Programs) Apply() error {
	before, err := pins.Generations()
	if err != nil {
		return err
	}
	if err := pins.Load(p.Build); err != nil {
		if len(before) == 0 {
			return errors.Join(err, p.Remove())
		}
		return err
	}
	return nil
}

// Remove implements reconcile.Resource: every generation, and the maps.
func (p *Programs) Remove() error {
	return errors.Join(p.forget(""), pins.RemoveLinks(), pins.RemoveMaps())
}

// Retire removes the generations before this one, which are attached nowhere once a plan has run.
func (p *Programs) Retire() error { return p.forget(p.Build) }

func (p *Programs) forget(keep string) error {
	builds, err := pins.Generations()
	errs := []error{err}
	for _, b := range slices.DeleteFunc(builds, func(b string) bool { return b == keep }) {
		errs = append(errs, pins.Unload(b))
	}
	return errors.Join(errs...)
}
