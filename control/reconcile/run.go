// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
)

// Run executes the plan in order and calls done, if not nil, after each step. When a step fails or ctx ends between two of
// them, Run undoes what it did in reverse order and returns the cause, with the errors of undoing joined to it: without any,
// the host is as it was.
func Run(ctx context.Context, plan Plan, done func(Op)) error {
	for i, op := range plan {
		if err := context.Cause(ctx); err != nil {
			return errors.Join(fmt.Errorf("stop before %s: %w", op, err), plan[:i].Undo())
		}
		if err := op.run(); err != nil {
			return errors.Join(err, op.mend(), plan[:i].Undo())
		}
		if done != nil {
			done(op)
		}
	}
	return nil
}

func (op Op) run() error {
	if op.Action == Remove {
		return op.Resource.Remove()
	}
	// What an owned object was before us is remembered already, and is not what the host has now.
	if p, ok := op.Resource.(Preparer); ok && op.Previous == nil {
		if err := p.Prepare(); err != nil {
			return err
		}
	}
	if c, ok := op.Resource.(Creator); ok && op.Action == Create {
		return c.Create()
	}
	return op.Resource.Apply()
}

// mend undoes what a failed step may have done in part. A failed Create has left nothing, or says NotUndone, and must not be removed:
// what is there may have appeared in between and be somebody else's.
func (op Op) mend() error {
	if op.Action == Create {
		return nil
	}
	return NotUndone(op.undo())
}

// Undo takes back steps that have all been done, last one first.
func (p Plan) Undo() error {
	var errs []error
	for i := len(p) - 1; i >= 0; i-- {
		errs = append(errs, p[i].undo())
	}
	return NotUndone(errs...)
}

// UndoError says that something has not been undone: it is still on the host, whoever gives up must go on knowing it.
type UndoError struct{ err error }

func (e *UndoError) Error() string { return e.err.Error() }

// Unwrap returns the errors of the operations.
func (e *UndoError) Unwrap() error { return e.err }

// NotUndone makes errors of undoing an UndoError, and nil of nothing. An Apply that could not take back what it did says so by it.
func NotUndone(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return &UndoError{err}
	}
	return nil
}

func (op Op) undo() error {
	var err error
	_, prepared := op.Resource.(Preparer)
	switch {
	case op.Action == Create:
		err = op.Resource.Remove()
	case op.Previous != nil:
		err = op.Previous.Apply()
	case prepared: // it knows what was there, so that removing brings it back
		err = op.Resource.Remove()
	}
	if err != nil {
		return fmt.Errorf("undo %s: %w", op, err)
	}
	return nil
}
