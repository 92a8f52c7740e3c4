// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"
	"os"
	"slices"

	"flyover/bpf"
	"flyover/control/reconcile"
	"flyover/control/topology"
	"flyover/loader"
)

// Endpoint is what the maps say of one endpoint: its identity, where its MAC is, and who has its address.
type Endpoint struct {
	// Number is the index in fo_traffic, unique and stable while the endpoint lives.
	Number uint32
	// Network is the number of its network.
	Network uint32
	// Device is the host's end of its pair.
	Device string
	// Address is its IPv4 address, Address6 its IPv6 address besides the link-local one; zero: it has none of the family.
	Address, Address6 netip.Addr
	MAC               topology.MAC
	// Limits of its translation and of its broadcasts, see lib/usage.h.
	Limits Limits
	// Unguarded endpoints have no source guard, see lib/unguarded.h.
	Unguarded bool

	// seen are the interfaces whose endpoints had its number or its address when it was last observed.
	seen []uint32
}

// Limits are what an endpoint may take of what all share; 0 is no limit.
type Limits struct{ Sessions, Mappings, Rate, Burst, Broadcasts uint32 }

var _ reconcile.Lingerer = (*Endpoint)(nil)

// Kind returns "endpoint".
func (*Endpoint) Kind() string { return "endpoint" }

// ID is the host's end of its pair.
func (e *Endpoint) ID() string { return e.Device }

// Lingers implements reconcile.Lingerer: as long as a program may see the endpoint's packets, it knows the endpoint.
func (*Endpoint) Lingers() {}

func (e *Endpoint) rows(index uint32) []row {
	return append([]row{
		e.identityRow(index),
		entry[bpf.DatapathFdbKey, bpf.DatapathFdbEntry]{
			bpf.DatapathMapFoFdb,
			bpf.DatapathFdbKey{Network: e.Network, Mac: e.MAC},
			bpf.DatapathFdbEntry{Ifindex: index, Endpoint: e.Number},
		},
	}, neighbourRows(e.Network, e.Address, e.Address6, e.MAC, index)...)
}

// identityRow is who sends what comes from the interface.
func (e *Endpoint) identityRow(index uint32) entry[bpf.DatapathEndpointKey, bpf.DatapathEndpointEntry] {
	return entry[bpf.DatapathEndpointKey, bpf.DatapathEndpointEntry]{
		bpf.DatapathMapFoEndpoints,
		bpf.DatapathEndpointKey{Ifindex: index},
		bpf.DatapathEndpointEntry{
			Id: e.Number, Network: e.Network, Addr4: as4(e.Address), Addr6: e.Address6.As16(), Mac: e.MAC,
			SessionsMax: e.Limits.Sessions, MappingsMax: e.Limits.Mappings,
			SessionsRate: e.Limits.Rate, SessionsBurst: e.Limits.Burst,
			BroadcastsRate: e.Limits.Broadcasts,
			Unguarded:      e.Unguarded,
		},
	}
}

// Observe implements reconcile.Resource. It notes who else has the endpoint's number or address, for Apply and Remove.
func (e *Endpoint) Observe(s *reconcile.Survey, _ bool) (reconcile.Observation, error) {
	index, err := topology.LinkIndex(s, e.Device)
	if err != nil {
		return reconcile.Observation{}, err
	}
	all, err := identitiesOf(s)
	if err != nil {
		return reconcile.Observation{}, err
	}
	e.seen = slices.Concat(all.byNumber[e.Number], all.byAddress[e.Address], all.byAddress[e.Address6])
	if index == 0 {
		return reconcile.Observation{}, nil
	}
	return observeRows(s, e.rows(index))
}

// identities are the interfaces in fo_endpoints by what their endpoints have.
type identities struct {
	byNumber  map[uint32][]uint32
	byAddress map[netip.Addr][]uint32
}

func identitiesOf(s *reconcile.Survey) (identities, error) {
	type key struct{}
	return reconcile.Once(s, key{}, func() (identities, error) {
		all, err := entriesOf[bpf.DatapathEndpointKey, bpf.DatapathEndpointEntry](s, bpf.DatapathMapFoEndpoints)
		by := identities{map[uint32][]uint32{}, map[netip.Addr][]uint32{}}
		for k, v := range all {
			by.byNumber[v.Id] = append(by.byNumber[v.Id], k.Ifindex)
			for _, a := range []netip.Addr{addrFrom4(v.Addr4), addrFrom16(v.Addr6)} {
				if a.IsValid() {
					by.byAddress[a] = append(by.byAddress[a], k.Ifindex)
				}
			}
		}
		return by, err
	})
}

// Apply implements reconcile.Resource. What another interface, MAC or address of the same endpoint, or another endpoint of the same
// number or address, left behind goes first. The sessions of an address that it keeps stay.
func (e *Endpoint) Apply() error {
	index, err := mustIfindexOf(e.Device)
	if err != nil {
		return err
	}
	all, err := e.known(index)
	if err != nil {
		return err
	}
	rows := e.rows(index)
	stays := false
	for _, k := range all {
		keeps := k.Number == e.Number && k.ifindex == index && len(k.without(e)) < len(k.addresses())
		stays = stays || keeps
		if err := k.giveWay(e, rows, keeps); err != nil {
			return err
		}
	}
	if !stays {
		err = errors.Join(pins.ResetTraffic(e.Number), usageOf(e.Number).remove())
	}
	return errors.Join(err, putRows(rows))
}

// Remove implements reconcile.Resource. It goes by the endpoint's number, since the interface may be gone.
func (e *Endpoint) Remove() error {
	index, err := ifindexOf(e.Device)
	if err != nil {
		return err
	}
	all, err := e.known(index)
	if err != nil {
		return err
	}
	for _, k := range all {
		if k.Number != e.Number {
			continue
		}
		if err := errors.Join(k.removeRows(nil), k.endSessions()); err != nil {
			return err
		}
	}
	return nil
}

// knownEndpoint is one that fo_endpoints has.
type knownEndpoint struct {
	Endpoint
	ifindex uint32
}

// known returns the entries of fo_endpoints that e has to do with: of its interface, and those that had its number or its address when
// it was last observed.
func (e *Endpoint) known(index uint32) ([]knownEndpoint, error) {
	candidates := append([]uint32{index}, e.seen...)
	slices.Sort(candidates)
	var all []knownEndpoint
	for _, ifindex := range slices.Compact(candidates) {
		v, ok, err := e.identityRow(ifindex).get()
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, knownEndpoint{Endpoint{
				Number: v.Id, Network: v.Network, Address: addrFrom4(v.Addr4), Address6: addrFrom16(v.Addr6), MAC: v.Mac,
				Limits:    Limits{v.SessionsMax, v.MappingsMax, v.SessionsRate, v.SessionsBurst, v.BroadcastsRate},
				Unguarded: v.Unguarded,
			}, ifindex})
		}
	}
	return all, nil
}

// addresses are those that it has.
func (e *Endpoint) addresses() []netip.Addr {
	return slices.DeleteFunc([]netip.Addr{e.Address, e.Address6}, func(a netip.Addr) bool { return !a.IsValid() })
}

// without are the addresses that e does not have.
func (k knownEndpoint) without(e *Endpoint) []netip.Addr {
	return slices.DeleteFunc(k.addresses(), func(a netip.Addr) bool { return a == e.Address || a == e.Address6 })
}

// giveWay takes out what e, which is to have these rows, does not take over: rows of other keys, and sessions, unless e keeps them, of
// addresses that it keeps.
func (k knownEndpoint) giveWay(e *Endpoint, rows []row, keeps bool) error {
	var errs []error
	if k.Number == e.Number {
		errs = append(errs, k.removeRows(rows))
	}
	lost := k.without(e)
	if keeps {
		for _, a := range lost {
			_, err := pins.EndSessions(a)
			errs = append(errs, err)
		}
	} else if k.Number == e.Number || len(lost) < len(k.addresses()) {
		errs = append(errs, k.endSessions())
	}
	return errors.Join(errs...)
}

// removeRows removes its rows, but for those in whose place others are about to be.
func (k knownEndpoint) removeRows(others []row) error {
	for _, r := range k.rows(k.ifindex) {
		if slices.ContainsFunc(others, func(other row) bool { return other.place() == r.place() }) {
			continue
		}
		// An endpoint that took over the MAC or the address has rows of the same keys by now.
		status, err := r.there()
		if err == nil && status == reconcile.Same {
			err = r.remove()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// endSessions ends the sessions of the endpoint's addresses, if it has any, and forgets its usage. An endpoint that has lost its
// address to another has none by then, and leaves the other's alone.
func (k knownEndpoint) endSessions() error {
	usage := usageOf(k.Number)
	t, err := loader.OpenTable[uint32, bpf.DatapathUsageEntry](pins, usage.table)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	have, _, err := t.Get(k.Number)
	if err == nil && (have.Sessions > 0 || have.Mappings > 0) {
		for _, a := range k.addresses() {
			_, ended := pins.EndSessions(a)
			err = errors.Join(err, ended)
		}
	}
	return errors.Join(err, t.Close(), usage.remove())
}

func usageOf(number uint32) entry[uint32, bpf.DatapathUsageEntry] {
	return entry[uint32, bpf.DatapathUsageEntry]{table: bpf.DatapathMapFoUsage, key: number}
}
