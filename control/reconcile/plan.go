// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"slices"
	"strings"
)

// Action is what an Op does.
type Action int

const (
	// Create makes an absent object.
	Create Action = iota
	// Update changes an object that differs.
	Update
	// Remove deletes an object that is ours and no longer wanted.
	Remove
)

var actionNames = [...]string{"create", "update", "remove"}

// String returns the verb that messages use.
func (a Action) String() string {
	if a < 0 || int(a) >= len(actionNames) {
		return fmt.Sprintf("Action(%d)", int(a))
	}
	return actionNames[a]
}

// Op is one step of a Plan.
type Op struct {
	Action Action
	// Resource as wanted; as owned for Remove.
	Resource Resource
	// Previous is the version that the state file lists, nil when it lists none.
	Previous Resource
	// Detail says what an Update changes.
	Detail string
}

// String returns "create veth veth-ns1-br", "update bridge br1: mtu 1500 -> 9000".
func (op Op) String() string {
	s := op.Action.String() + " " + Name(op.Resource)
	if op.Detail != "" {
		s += ": " + op.Detail
	}
	return s
}

// Plan is a list of steps in the order in which they run. Empty: the host is as wanted.
type Plan []Op

// Adds says that the plan only creates, and so takes nothing along that was there when it was made.
func (p Plan) Adds() bool {
	return !slices.ContainsFunc(p, func(op Op) bool { return op.Action != Create })
}

// String returns one step a line.
func (p Plan) String() string {
	var b strings.Builder
	for _, op := range p {
		fmt.Fprintln(&b, op)
	}
	return b.String()
}

// Inheritor is implemented by a Preparer: before the wanted version takes the place of an owned one, it takes over what that
// one remembers of the host before us.
type Inheritor interface {
	Inherit(owned Resource)
}

// ForeignObject is a wanted object that somebody else made.
type ForeignObject struct {
	// Name of the wanted resource, as by Name.
	Name string
	Observation
}

// ForeignError lists every foreign object in the way. Nothing was done.
type ForeignError []ForeignObject

// Error returns the details, separated by semicolons.
func (e ForeignError) Error() string {
	details := make([]string, len(e))
	for i, o := range e {
		details[i] = o.Detail
		if o.Detail == "" {
			details[i] = o.Name + " exists, not made by flyover"
		}
	}
	return strings.Join(details, "; ")
}
