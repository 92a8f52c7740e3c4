// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"flyover/control/reconcile"
	"flyover/control/topology"
	"flyover/loader"
)

// Attachment is one program at one interface.
type Attachment struct {
	Device string
	Point  loader.Point
	Hook   loader.Hook
	// Build that the program is of.
	Build string
	// KeepQdisc says that the interface had a clsact qdisc before us, which stays.
	KeepQdisc bool
}

var (
	_ reconcile.Lingerer  = (*Attachment)(nil)
	_ reconcile.Preparer  = (*Attachment)(nil)
	_ reconcile.Inheritor = (*Attachment)(nil)
)

// Kind returns "attachment".
func (*Attachment) Kind() string { return "attachment" }

// ID is interface, point and hook: another hook is another object, so that a change of hooks leaves no gap.
func (a *Attachment) ID() string { return fmt.Sprintf("%s %s %s", a.Device, a.Point, a.Hook) }

// Lingers implements reconcile.Lingerer: what guards an uplink goes only after what comes in its place.
func (*Attachment) Lingers() {}

// Observe implements reconcile.Resource.
func (a *Attachment) Observe(s *reconcile.Survey, _ bool) (reconcile.Observation, error) {
	index, err := topology.LinkIndex(s, a.Device)
	if err != nil || index == 0 {
		return reconcile.Observation{}, err
	}
	have, err := pins.Attached(a.Hook, int(index), a.Point)
	if errors.Is(err, loader.ErrNotAttached) {
		return reconcile.Observation{}, nil
	}
	if err != nil {
		return reconcile.Observation{}, err
	}
	type program struct {
		build string
		point loader.Point
	}
	want, err := reconcile.Once(s, program{a.Build, a.Point}, func() (ebpf.ProgramID, error) { return pins.ProgramID(a.Build, a.Point) })
	switch {
	case err != nil && !errors.Is(err, loader.ErrNotAttached):
		return reconcile.Observation{}, err
	case err == nil && have == want:
		return reconcile.Observation{Status: reconcile.Same}, nil
	}
	return reconcile.Observation{Status: reconcile.Different, Detail: "program of another build"}, nil
}

// Prepare implements reconcile.Preparer.
func (a *Attachment) Prepare() error {
	index, err := ifindexOf(a.Device)
	if err != nil || index == 0 || a.Hook != loader.Clsact {
		return err
	}
	a.KeepQdisc, err = loader.HasClsact(int(index))
	return err
}

// Inherit implements reconcile.Inheritor.
func (a *Attachment) Inherit(owned reconcile.Resource) {
	if was, ok := owned.(*Attachment); ok {
		a.KeepQdisc = was.KeepQdisc
	}
}

// Apply implements reconcile.Resource. A program of ours there is replaced in one step.
func (a *Attachment) Apply() error {
	index, err := mustIfindexOf(a.Device)
	if err != nil {
		return fmt.Errorf("attach %s: %w", a.Point, err)
	}
	return pins.Attach(a.Hook, int(index), a.Point, a.Build)
}

// Remove implements reconcile.Resource.
func (a *Attachment) Remove() error {
	index, err := ifindexOf(a.Device)
	if err != nil {
		return err
	}
	if index == 0 { // the kernel has detached it; the pin of a link may be left
		return pins.RemoveDefunctLinks()
	}
	if err := pins.Detach(a.Hook, int(index), a.Point); err != nil || a.Hook != loader.Clsact || a.KeepQdisc {
		return err
	}
	return loader.RemoveEmptyClsact(int(index))
}
