// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"slices"
	"strings"

	"flyover/control/reconcile"
)

// Programs are the loaded programs of one build, pinned, and the pinned maps that all builds share.
type Programs struct {
	// Build of the programs, see loader.Build.
	Build string
	// Sessions is the size of the session table, fixed when the maps are made.
	Sessions uint32
}

var _ reconcile.Lingerer = (*Programs)(nil)

// Kind returns "programs".
func (*Programs) Kind() string { return "programs" }

// ID is the directory of the pins.
func (*Programs) ID() string { return pins.Root() }

// Lingers implements reconcile.Lingerer.
func (*Programs) Lingers() {}

// Observe implements reconcile.Resource.
func (p *Programs) Observe(*reconcile.Survey, bool) (reconcile.Observation, error) {
	if pins.Whole(p.Build) && pins.Holds(p.Sessions) {
		return reconcile.Observation{Status: reconcile.Same}, nil
	}
	if !pins.Exist() {
		return reconcile.Observation{}, nil
	}
	if pins.Whole(p.Build) {
		return reconcile.Observation{Status: reconcile.Different, Detail: "another number of sessions"}, nil
	}
	builds, err := pins.Generations()
	if err != nil {
		return reconcile.Observation{}, err
	}
	if slices.Contains(builds, p.Build) || len(builds) == 0 {
		return reconcile.Observation{Status: reconcile.Different, Detail: "pins are missing"}, nil
	}
	return reconcile.Observation{Status: reconcile.Different, Detail: "build " + strings.Join(builds, ", ") + " -> " + p.Build}, nil
}

// Apply implements reconcile.Resource: the programs are there, whole, and attached nowhere yet. If they cannot be, what was there
// before stays, and nothing else. Programs that are there stay too: others of the same build would not be the attached ones.
func (p *Programs) Apply() error {
	if pins.Whole(p.Build) && pins.Holds(p.Sessions) {
		return nil
	}
	existed := pins.Exist()
	err := pins.Load(p.Build, p.Sessions)
	if err != nil && !existed {
		return errors.Join(err, reconcile.NotUndone(pins.Remove()))
	}
	return err
}

// Remove implements reconcile.Resource: every generation, and the maps.
func (p *Programs) Remove() error { return pins.Remove() }

// Retire removes the generations before this one, which are attached nowhere once a plan has run.
func (p *Programs) Retire() error {
	builds, err := pins.Generations()
	errs := []error{err}
	for _, b := range builds {
		if b != p.Build {
			errs = append(errs, pins.Unload(b))
		}
	}
	return errors.Join(errs...)
}
