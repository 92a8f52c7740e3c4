// SPDX-License-Identifier: Apache-2.0

// Package datapath holds the resources of `datapath: ebpf`: the mounted bpffs, the loaded programs, where they are attached, and
// what the maps say of networks, endpoints and uplinks. Each is a reconcile.Resource in the calling thread's network namespace.
package datapath

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"flyover/bpf"
	"flyover/control/reconcile"
	"flyover/loader"
)

// pins is where everything is pinned.
var pins = loader.NewPins(loader.BPFFS)

// Kinds lists an empty resource of each kind, for the state file to fill.
func Kinds() map[string]func() reconcile.Resource {
	return map[string]func() reconcile.Resource{
		(&BPFFS{}).Kind():      func() reconcile.Resource { return new(BPFFS) },
		(&Programs{}).Kind():   func() reconcile.Resource { return new(Programs) },
		(&Attachment{}).Kind(): func() reconcile.Resource { return new(Attachment) },
		(&Network{}).Kind():    func() reconcile.Resource { return new(Network) },
		(&Endpoint{}).Kind():   func() reconcile.Resource { return new(Endpoint) },
		(&Uplink{}).Kind():     func() reconcile.Resource { return new(Uplink) },
	}
}

// ifindexOf returns the number of the named interface, 0 if there is none.
func ifindexOf(name string) (uint32, error) {
	ifi, err := net.InterfaceByName(name)
	var op *net.OpError
	if errors.As(err, &op) && op.Err.Error() == "no such network interface" {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return uint32(ifi.Index), nil
}

// mustIfindexOf is ifindexOf for an interface that has to be there.
func mustIfindexOf(name string) (uint32, error) {
	index, err := ifindexOf(name)
	if err == nil && index == 0 {
		return 0, fmt.Errorf("look up interface %s: it has vanished", name)
	}
	return index, err
}

// row is one wanted entry of one map; a resource is a list of rows that are there together or not at all.
type row interface {
	// name of the map.
	name() string
	// observe compares the map's entry with the row.
	observe() (reconcile.Status, error)
	put() error
	remove() error
}

// entry is a row of the map with these key and value types.
type entry[K, V comparable] struct {
	table string
	key   K
	value V
}

func (e entry[K, V]) name() string { return e.table }

func (e entry[K, V]) with(use func(*loader.Table[K, V]) error) error {
	t, err := loader.OpenTable[K, V](pins, e.table)
	if err != nil {
		return err
	}
	return errors.Join(use(t), t.Close())
}

func (e entry[K, V]) observe() (status reconcile.Status, err error) {
	var zero V
	err = e.with(func(t *loader.Table[K, V]) error {
		have, ok, err := t.Get(e.key)
		switch {
		case !ok || have == zero && have != e.value:
			status = reconcile.Absent
		case have == e.value:
			status = reconcile.Same
		default:
			status = reconcile.Different
		}
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return reconcile.Absent, nil
	}
	return status, err
}

func (e entry[K, V]) put() error {
	return e.with(func(t *loader.Table[K, V]) error { return t.Put(e.key, e.value) })
}

func (e entry[K, V]) remove() error {
	err := e.with(func(t *loader.Table[K, V]) error { return t.Delete(e.key) })
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// removeWhere removes every entry of the map that the condition is true of.
func (e entry[K, V]) removeWhere(condition func(K, V) bool) error {
	err := e.with(func(t *loader.Table[K, V]) error {
		var keys []K
		err := t.Each(func(k K, v V) {
			if condition(k, v) {
				keys = append(keys, k)
			}
		})
		for _, k := range keys {
			err = errors.Join(err, t.Delete(k))
		}
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// observeRows is Same if all rows are, Absent if none is there, Different otherwise.
func observeRows(rows []row) (reconcile.Observation, error) {
	var same, absent int
	var details []string
	for _, r := range rows {
		s, err := r.observe()
		switch {
		case err != nil:
			return reconcile.Observation{}, err
		case s == reconcile.Same:
			same++
			continue
		case s == reconcile.Absent:
			absent++
		}
		details = append(details, fmt.Sprintf("entry of %s %s", r.name(), s))
	}
	switch len(rows) {
	case same:
		return reconcile.Observation{Status: reconcile.Same}, nil
	case absent:
		return reconcile.Observation{}, nil
	}
	return reconcile.Observation{Status: reconcile.Different, Detail: strings.Join(details, ", ")}, nil
}

func putRows(rows []row) error {
	for _, r := range rows {
		if err := r.put(); err != nil {
			return err
		}
	}
	return nil
}

func removeRows(rows []row) error {
	var errs []error
	for _, r := range rows {
		errs = append(errs, r.remove())
	}
	return errors.Join(errs...)
}

// neighbourRow is whose an address is: what ARP is answered with, and, for the slow path, the interface that it is behind.
func neighbourRow(network uint32, addr [4]byte, mac [6]byte, ifindex uint32) row {
	return entry[bpf.DatapathNeighbour4Key, bpf.DatapathNeighbourEntry]{
		table: bpf.DatapathMapFoNeighbours4,
		key:   bpf.DatapathNeighbour4Key{Network: network, Addr: addr},
		value: bpf.DatapathNeighbourEntry{Mac: mac, Ifindex: ifindex},
	}
}
