// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"

	"flyover/control/datapath"
	"flyover/control/reconcile"
	"flyover/control/state"
)

// maxRounds bounds how often up looks again: a pair of interfaces that is made anew loses its addresses, which the next look
// finds missing.
const maxRounds = 8

// converge runs plans until nothing differs. The state lists old and new objects while the run is under way, so that a crash
// leaves nothing that down does not know.
func (h Host) converge(ctx context.Context, store *state.Store, w, owned []reconcile.Resource) (reconcile.Plan, error) {
	var done reconcile.Plan
	var was map[string]reconcile.Observation // how the host was before the first step
	giveUp := func(err error) error {
		var left *reconcile.UndoError
		if errors.As(err, &left) { // the state goes on listing it, and what was there before it
			return errors.Join(err, bringBack(owned, was))
		}
		return errors.Join(err, h.giveUp(store, done, owned, was))
	}
	before := owned
	for round := range maxRounds {
		observe := reconcile.Observe
		if round == 0 && h.OnlyChanges && store.Settled() { // what goes may take others along, so that the next rounds look at everything
			observe = h.observeChanges
		}
		observed, err := observe(w, before)
		if err != nil {
			return nil, giveUp(err)
		}
		plan, err := reconcile.Diff(w, before, observed)
		if err != nil {
			return nil, giveUp(err)
		}
		if len(plan) == 0 {
			return h.settle(store, done, w, giveUp)
		}
		if err := errors.Join(prepare(plan), store.Save(union(owned, w), false)); err != nil {
			return nil, giveUp(err)
		}
		if was == nil {
			was = observed
		}
		if err := reconcile.Run(ctx, plan, h.tell); err != nil {
			return nil, giveUp(err)
		}
		done = append(done, plan...)
		if plan.Adds() { // so what was right before is so now
			return h.settle(store, done, w, giveUp)
		}
		before = w
	}
	return nil, giveUp(fmt.Errorf("make host as configured: still different after %d rounds, last: %s", maxRounds, done[len(done)-1]))
}

// observeChanges is reconcile.Observe that takes what is wanted as it is owned for the same on the host.
func (h Host) observeChanges(w, owned []reconcile.Resource) (map[string]reconcile.Observation, error) {
	observed, unseen, err := reconcile.ObserveChanges(w, owned)
	if h.Unseen != nil && err == nil {
		h.Unseen(unseen)
	}
	return observed, err
}

// settle writes down that exactly w is ours by now. A state that cannot be written is a failure like any other.
func (h Host) settle(store *state.Store, done reconcile.Plan, w []reconcile.Resource, giveUp func(error) error) (reconcile.Plan, error) {
	if err := store.Save(w, true); err != nil {
		return nil, giveUp(err)
	}
	return done, nil
}

// giveUp takes back the rounds before the failed one. If that fails too, the state goes on listing everything.
func (h Host) giveUp(store *state.Store, done reconcile.Plan, owned []reconcile.Resource, was map[string]reconcile.Observation) error {
	if err := errors.Join(done.Undo(), bringBack(owned, was)); err != nil {
		return err
	}
	return store.Save(owned, store.Settled())
}

// bringBack makes again what was right before and went along with what has been taken back: routes, say, go with an address.
func bringBack(owned []reconcile.Resource, was map[string]reconcile.Observation) error {
	var right []reconcile.Resource
	for _, r := range owned {
		if was[reconcile.Name(r)].Status == reconcile.Same {
			right = append(right, r)
		}
	}
	for range maxRounds {
		observed, err := reconcile.Observe(right, right)
		if err != nil {
			return err
		}
		plan, err := reconcile.Diff(right, right, observed)
		if err != nil || len(plan) == 0 {
			return err
		}
		if err := reconcile.Run(context.Background(), plan, nil); err != nil {
			return err
		}
	}
	return nil
}

// prepare lets the new objects remember the host before they are written down, so that a crash does not lose it.
func prepare(plan reconcile.Plan) error {
	var errs []error
	for _, op := range plan {
		if p, ok := op.Resource.(reconcile.Preparer); ok && op.Action != reconcile.Remove && op.Previous == nil {
			errs = append(errs, p.Prepare())
		}
	}
	return errors.Join(errs...)
}

func union(owned, w []reconcile.Resource) []reconcile.Resource {
	all := append([]reconcile.Resource(nil), owned...)
	known := map[string]bool{}
	for _, r := range owned {
		known[reconcile.Name(r)] = true
	}
	for _, r := range w {
		if !known[reconcile.Name(r)] {
			all = append(all, r)
		}
	}
	return all
}

// retire drops the programs that no interface runs any more.
func retire(w []reconcile.Resource) error {
	for _, r := range w {
		if p, ok := r.(*datapath.Programs); ok {
			return p.Retire()
		}
	}
	return nil
}
