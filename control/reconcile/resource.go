// SPDX-License-Identifier: Apache-2.0

// Package reconcile turns a list of wanted resources and what the host has into the operations that make the host as wanted,
// and runs them so that a failure leaves the host as it was.
package reconcile

import "fmt"

// Status says how the host compares with one wanted resource.
type Status int

const (
	// Absent: the host has no such object.
	Absent Status = iota
	// Same: the object is there and is as wanted.
	Same
	// Different: the object is there, is ours or may be changed by us, and differs from what is wanted.
	Different
	// Foreign: the object is there and somebody else made it. It is never touched.
	Foreign
)

var statusNames = [...]string{"absent", "same", "different", "foreign"}

// String returns the word that `flyover status` prints.
func (s Status) String() string {
	if s < 0 || int(s) >= len(statusNames) {
		return fmt.Sprintf("Status(%d)", int(s))
	}
	return statusNames[s]
}

// Observation is what Observe found.
type Observation struct {
	Status Status
	// Detail says what differs, or whose a foreign object is. Empty for Absent and Same.
	Detail string
}

// Resource is one object on the host that flyover can make: a namespace, a link, an address, a map entry.
//
// A Resource is a plain comparable-by-JSON struct with exported fields: the state file stores it and hands it back to Remove in
// a later process. Two resources with the same ID are the same object, perhaps wanted differently.
type Resource interface {
	// Kind is the name under which the state file stores the type: "namespace", "veth".
	Kind() string
	// ID names the object among those of its kind: "ns1", "veth-ns1-br", "br1 192.168.15.10/24".
	ID() string
	// Observe compares the host, as the survey has it, with the resource and changes nothing. Owned says that the state file lists the
	// object as ours.
	Observe(s *Survey, owned bool) (Observation, error)
	// Apply makes the host as wanted. It is idempotent; it is called for Absent and Different objects only.
	Apply() error
	// Remove deletes the object. Deleting a missing object is not an error.
	Remove() error
}

// Preparer is implemented by resources that must remember something of the host before they change it, such as the former
// value of a sysctl. Prepare is called once, before the first Apply, and its result is what the state file stores.
type Preparer interface {
	Prepare() error
}

// Name is how messages name a resource: kind and ID.
func Name(r Resource) string { return r.Kind() + " " + r.ID() }

// Lingerer is implemented by resources whose removal waits until everything wanted is there: what guards traffic must not go
// before what takes its place. The method does nothing.
type Lingerer interface {
	Resource
	Lingers()
}

// Keeper is implemented by resources that may have been on the host before us, just as wanted. Keeps says that this one was, so
// that it stays and no plan removes it.
type Keeper interface {
	Resource
	Keeps() bool
}

// Creator is implemented by resources that cannot tell their own objects from somebody else's: Create is Apply for an object that
// was absent, and refuses one that has appeared since.
type Creator interface {
	Resource
	Create() error
}
