// SPDX-License-Identifier: Apache-2.0

// Package datapath holds the resources of `datapath: ebpf`: the mounted bpffs, the loaded programs, where they are attached, and
// what the maps say of networks, endpoints and uplinks. Each is a reconcile.Resource in the calling thread's network namespace.
package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"flyover/bpf"
	"flyover/control/reconcile"
	"flyover/control/topology"
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
	index, err := ioctlIndex(name)
	if errors.Is(err, unix.ENODEV) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return index, nil
}

// ioctlIndex asks for the one interface; the net package would have the kernel list all of them.
func ioctlIndex(name string) (uint32, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	return request.Uint32(), err
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
	// place is the map and the key: rows with equal places take each other's place.
	place() any
	// observe compares the map's entry, as the survey has it, with the row.
	observe(s *reconcile.Survey) (reconcile.Status, error)
	// there compares it now.
	there() (reconcile.Status, error)
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

func (e entry[K, V]) place() any { return entry[K, V]{table: e.table, key: e.key} }

func (e entry[K, V]) with(use func(*loader.Table[K, V]) error) error {
	t, err := loader.OpenTable[K, V](pins, e.table)
	if err != nil {
		return err
	}
	return errors.Join(use(t), t.Close())
}

// tableKey is the name of a map of which a survey holds all entries.
type tableKey string

func (e entry[K, V]) observe(s *reconcile.Survey) (reconcile.Status, error) {
	all, err := entriesOf[K, V](s, e.table)
	have, ok := all[e.key]
	return e.compare(have, ok), err
}

// entriesOf returns what the map holds, nothing if there is no such map.
func entriesOf[K, V comparable](s *reconcile.Survey, table string) (map[K]V, error) {
	return reconcile.Once(s, tableKey(table), func() (map[K]V, error) {
		all := map[K]V{}
		err := entry[K, V]{table: table}.with(func(t *loader.Table[K, V]) error {
			return t.Scan(func(k K, v V) error {
				all[k] = v
				return nil
			})
		})
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return all, err
	})
}

func (e entry[K, V]) there() (status reconcile.Status, err error) {
	have, ok, err := e.get()
	return e.compare(have, ok), err
}

// get returns what the map has under the key; false if nothing, or if there is no such map.
func (e entry[K, V]) get() (have V, ok bool, err error) {
	err = e.with(func(t *loader.Table[K, V]) (err error) {
		have, ok, err = t.Get(e.key)
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return have, false, nil
	}
	return have, ok, err
}

func (e entry[K, V]) compare(have V, ok bool) reconcile.Status {
	var zero V
	switch {
	case !ok || have == zero && have != e.value:
		return reconcile.Absent
	case have == e.value:
		return reconcile.Same
	}
	return reconcile.Different
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
func observeRows(survey *reconcile.Survey, rows []row) (reconcile.Observation, error) {
	var same, absent int
	var details []string
	for _, r := range rows {
		s, err := r.observe(survey)
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

// neighbourRows are whose the addresses are, and with IPv6 the link-local one of the MAC: what ARP and neighbour discovery are answered
// with, and, for the slow path, the interface that they are behind. Addresses that are not valid have none.
func neighbourRows(network uint32, addr, addr6 netip.Addr, mac topology.MAC, ifindex uint32) []row {
	value := bpf.DatapathNeighbourEntry{Mac: mac, Ifindex: ifindex}
	var rows []row
	if addr.IsValid() {
		rows = append(rows, entry[bpf.DatapathNeighbourKey, bpf.DatapathNeighbourEntry]{
			bpf.DatapathMapFoNeighbours4, bpf.DatapathNeighbourKey{Network: network, Addr: addr.As4()}, value,
		})
	}
	if !addr6.IsValid() {
		return rows
	}
	for _, a := range []netip.Addr{addr6, mac.LinkLocal()} {
		rows = append(rows, entry[bpf.Datapath6NeighbourKey, bpf.DatapathNeighbourEntry]{
			bpf.Datapath6MapFoNeighbours6, bpf.Datapath6NeighbourKey{Network: network, Addr: a.As16()}, value,
		})
	}
	return rows
}

// as4 is how a map has an IPv4 address, 0.0.0.0 if there is none.
func as4(a netip.Addr) [4]byte {
	if !a.IsValid() {
		return [4]byte{}
	}
	return a.As4()
}

// addrFrom4 is as4 the other way.
func addrFrom4(a [4]byte) netip.Addr {
	if a == [4]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom4(a)
}

// addrFrom16 is addrFrom4 for IPv6.
func addrFrom16(a [16]byte) netip.Addr {
	if a == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a)
}
