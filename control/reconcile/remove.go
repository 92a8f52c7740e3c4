// SPDX-License-Identifier: Apache-2.0

package reconcile

import "errors"

// Carrier is implemented by resources whose removal takes along what depends on them, and of which many are removed with less work
// than one by one.
type Carrier interface {
	Resource
	// RemoveAll is Remove for each of the carriers, which are all of its own kind. Each one's error is at its place.
	RemoveAll(carriers []Resource) []error
}

// RemoveAll takes the steps of a plan that only removes, all of them whatever fails, and calls done, if not nil, after each. It
// returns what could not be removed, in the order in which it was made.
//
// Carriers go first, so that hardly anything is left to do for what depends on them. Nothing is undone, so the order of the plan, by
// which it could be, does not matter.
func RemoveAll(plan Plan, done func(Op)) (left []Resource, err error) {
	carriers, others := plan.carriers()
	failed := map[string]bool{}
	var errs []error
	finish := func(op Op, err error) {
		if err != nil {
			failed[Name(op.Resource)] = true
			errs = append(errs, err)
		} else if done != nil {
			done(op)
		}
	}
	for _, ops := range carriers {
		resources := make([]Resource, len(ops))
		for i, op := range ops {
			resources[i] = op.Resource
		}
		for i, err := range resources[0].(Carrier).RemoveAll(resources) {
			finish(ops[i], err)
		}
	}
	for _, op := range others {
		finish(op, op.Resource.Remove())
	}
	for i := len(plan) - 1; i >= 0; i-- {
		if failed[Name(plan[i].Resource)] {
			left = append(left, plan[i].Resource)
		}
	}
	return left, errors.Join(errs...)
}

// carriers splits the plan into the carriers of each kind, kinds in order of appearance, and the other steps.
func (p Plan) carriers() (carriers []Plan, others Plan) {
	place := map[string]int{}
	for _, op := range p {
		if _, ok := op.Resource.(Carrier); !ok {
			others = append(others, op)
			continue
		}
		kind := op.Resource.Kind()
		if _, known := place[kind]; !known {
			place[kind] = len(carriers)
			carriers = append(carriers, nil)
		}
		carriers[place[kind]] = append(carriers[place[kind]], op)
	}
	return carriers, others
}
