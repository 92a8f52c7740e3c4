// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"
	"os"

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
	Device  string
	Address netip.Addr
	MAC     topology.MAC
	// Limits of its translation, see lib/usage.h.
	Limits Limits
}

// Limits are what an endpoint may take of the translation; 0 is no limit.
type Limits struct{ Sessions, Mappings, Rate, Burst uint32 }

var _ reconcile.Lingerer = (*Endpoint)(nil)

// Kind returns "endpoint".
func (*Endpoint) Kind() string { return "endpoint" }

// ID is the host's end of its pair.
func (e *Endpoint) ID() string { return e.Device }

// Lingers implements reconcile.Lingerer: as long as a program may see the endpoint's packets, it knows the endpoint.
func (*Endpoint) Lingers() {}

type endpointTable = loader.Table[bpf.DatapathEndpointKey, bpf.DatapathEndpointEntry]

func (e *Endpoint) rows(index uint32) []row {
	return []row{
		entry[bpf.DatapathEndpointKey, bpf.DatapathEndpointEntry]{
			bpf.DatapathMapFoEndpoints,
			bpf.DatapathEndpointKey{Ifindex: index},
			bpf.DatapathEndpointEntry{
				Id: e.Number, Network: e.Network, Addr4: e.Address.As4(), Mac: e.MAC,
				SessionsMax: e.Limits.Sessions, MappingsMax: e.Limits.Mappings,
				SessionsRate: e.Limits.Rate, SessionsBurst: e.Limits.Burst,
			},
		},
		entry[bpf.DatapathFdbKey, bpf.DatapathFdbEntry]{
			bpf.DatapathMapFoFdb,
			bpf.DatapathFdbKey{Network: e.Network, Mac: e.MAC},
			bpf.DatapathFdbEntry{Ifindex: index, Endpoint: e.Number},
		},
		neighbourRow(e.Network, e.Address.As4(), e.MAC, index),
	}
}

// Observe implements reconcile.Resource.
func (e *Endpoint) Observe(bool) (reconcile.Observation, error) {
	index, err := ifindexOf(e.Device)
	if err != nil || index == 0 {
		return reconcile.Observation{}, err
	}
	return observeRows(e.rows(index))
}

// Apply implements reconcile.Resource. What another interface, MAC or address of the same endpoint, or another endpoint of the same
// number, left behind goes first; the sessions of an address that it keeps stay.
func (e *Endpoint) Apply() error {
	index, err := mustIfindexOf(e.Device)
	if err != nil {
		return err
	}
	known, err := e.remove(func(was Endpoint, ifindex uint32) bool { return was.Address == e.Address && ifindex == index })
	if err != nil {
		return err
	}
	if !known {
		err = pins.ResetTraffic(e.Number)
	}
	return errors.Join(err, putRows(e.rows(index)))
}

// Remove implements reconcile.Resource. It goes by the endpoint's number, since the interface may be gone.
func (e *Endpoint) Remove() error {
	_, err := e.remove(func(Endpoint, uint32) bool { return false })
	return err
}

// remove takes out what is known of the endpoint's number, and its sessions unless keep says so; known tells that it did.
func (e *Endpoint) remove(keep func(was Endpoint, ifindex uint32) bool) (known bool, err error) {
	t, err := loader.OpenTable[bpf.DatapathEndpointKey, bpf.DatapathEndpointEntry](pins, bpf.DatapathMapFoEndpoints)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer t.Close()
	var rows []row
	var gone []netip.Addr
	err = t.Each(func(k bpf.DatapathEndpointKey, v bpf.DatapathEndpointEntry) {
		if v.Id != e.Number {
			return
		}
		was := Endpoint{
			Number: v.Id, Network: v.Network, Address: netip.AddrFrom4(v.Addr4), MAC: v.Mac,
			Limits: Limits{v.SessionsMax, v.MappingsMax, v.SessionsRate, v.SessionsBurst},
		}
		rows = append(rows, was.rows(k.Ifindex)...)
		if keep(was, k.Ifindex) {
			known = true
		} else {
			gone = append(gone, was.Address)
		}
	})
	if err != nil {
		return known, err
	}
	for _, r := range rows {
		// An endpoint that took over the MAC or the address has rows of the same keys by now.
		status, err := r.observe()
		if err == nil && status == reconcile.Same {
			err = r.remove()
		}
		if err != nil {
			return known, err
		}
	}
	for _, addr := range gone {
		if err := e.forget(addr); err != nil {
			return known, err
		}
	}
	return known, nil
}

// forget ends the sessions of an address that the endpoint had.
func (e *Endpoint) forget(addr netip.Addr) error {
	inside := addr.As4()
	usage := entry[uint32, bpf.DatapathUsageEntry]{table: bpf.DatapathMapFoUsage, key: e.Number}
	return errors.Join(
		entry[bpf.DatapathSession4Key, bpf.DatapathSession4Entry]{table: bpf.DatapathMapFoSessions4}.removeWhere(
			func(k bpf.DatapathSession4Key, _ bpf.DatapathSession4Entry) bool { return k.Inside == inside }),
		entry[bpf.DatapathReply4Key, bpf.DatapathReply4Entry]{table: bpf.DatapathMapFoReplies4}.removeWhere(
			func(_ bpf.DatapathReply4Key, v bpf.DatapathReply4Entry) bool { return v.Inside == inside }),
		entry[bpf.DatapathMapping4Key, bpf.DatapathMapping4Entry]{table: bpf.DatapathMapFoMappings4}.removeWhere(
			func(k bpf.DatapathMapping4Key, _ bpf.DatapathMapping4Entry) bool { return k.Inside == inside }),
		entry[bpf.DatapathPort4Key, bpf.DatapathPort4Entry]{table: bpf.DatapathMapFoPorts4}.removeWhere(
			func(_ bpf.DatapathPort4Key, v bpf.DatapathPort4Entry) bool { return v.Inside == inside }),
		usage.remove(),
	)
}
