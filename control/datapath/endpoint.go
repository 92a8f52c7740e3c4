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
}

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
			bpf.DatapathEndpointEntry{Id: e.Number, Network: e.Network, Addr4: e.Address.As4(), Mac: e.MAC},
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

// Apply implements reconcile.Resource. What another interface, MAC or address of the same endpoint, or
// another endpoint of the same number, left behind goes first.
func (e *Endpoint) Apply() error {
	index, err := mustIfindexOf(e.Device)
	if err != nil {
		return err
	}
	if err := e.Remove(); err != nil {
		return err
	}
	return errors.Join(pins.ResetTraffic(e.Number), putRows(e.rows(index)))
}

// Remove implements reconcile.Resource. It goes by the endpoint's number, since the interface may be gone.
func (e *Endpoint) Remove() error {
	t, err := loader.OpenTable[bpf.DatapathEndpointKey, bpf.DatapathEndpointEntry](pins, bpf.DatapathMapFoEndpoints)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(e.removeFrom(t), t.Close())
}

func (e *Endpoint) removeFrom(t *endpointTable) error {
	var rows []row
	err := t.Each(func(k bpf.DatapathEndpointKey, v bpf.DatapathEndpointEntry) {
		if v.Id == e.Number {
			was := Endpoint{Number: v.Id, Network: v.Network, Address: netip.AddrFrom4(v.Addr4), MAC: v.Mac}
			rows = append(rows, was.rows(k.Ifindex)...)
		}
	})
	if err != nil {
		return err
	}
	for _, r := range rows {
		// An endpoint that took over the MAC or the address has rows of the same keys by now.
		status, err := r.observe()
		if err == nil && status == reconcile.Same {
			err = r.remove()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
