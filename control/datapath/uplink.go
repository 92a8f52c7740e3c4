// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"

	"flyover/bpf"
	"flyover/control/reconcile"
)

// Uplink is what the maps say of one interface that leads outside.
type Uplink struct {
	Device string
	// Address and Address6 are what the outside sees; zero: it has none of the family, and nothing of that is translated there.
	Address, Address6 netip.Addr
	// MTU in bytes.
	MTU int
	// PortFirst and PortLast bound the outside ports of all networks, both included.
	PortFirst, PortLast uint16
	// Tuples and Ports say what else than a mapping that knows its remote there is, see enum uplink_lookups of lib/uplink.h.
	Tuples, Ports bool
}

var _ reconcile.Lingerer = (*Uplink)(nil)

// Kind returns "uplink".
func (*Uplink) Kind() string { return "uplink" }

// ID is the interface.
func (u *Uplink) ID() string { return u.Device }

// Lingers implements reconcile.Lingerer.
func (*Uplink) Lingers() {}

func (u *Uplink) rows() ([]row, error) {
	index, err := ifindexOf(u.Device)
	if err != nil || index == 0 {
		return nil, err
	}
	var lookups bpf.DatapathUplinkLookups
	if u.Tuples {
		lookups |= bpf.DatapathUplinkLookupsUPLINK_TUPLES
	}
	if u.Ports {
		lookups |= bpf.DatapathUplinkLookupsUPLINK_PORTS
	}
	return []row{entry[bpf.DatapathUplinkKey, bpf.DatapathUplinkEntry]{
		bpf.DatapathMapFoUplinks,
		bpf.DatapathUplinkKey{Ifindex: index},
		bpf.DatapathUplinkEntry{
			Source4: as4(u.Address), Source6: u.Address6.As16(), Mtu: uint32(u.MTU), PortFirst: u.PortFirst, PortLast: u.PortLast, Lookups: lookups,
		},
	}}, nil
}

// Observe implements reconcile.Resource.
func (u *Uplink) Observe(s *reconcile.Survey, _ bool) (reconcile.Observation, error) {
	rows, err := u.rows()
	if err != nil || len(rows) == 0 {
		return reconcile.Observation{}, err
	}
	return observeRows(s, rows)
}

// Apply implements reconcile.Resource. Each address that the uplink has had leaves something behind; that of the one before this is left until
// the next, for packets that are under way.
func (u *Uplink) Apply() error {
	if _, err := mustIfindexOf(u.Device); err != nil {
		return err
	}
	rows, err := u.rows()
	if err != nil {
		return err
	}
	if err := pins.ForgetAddresses(); err != nil {
		return err
	}
	return putRows(rows)
}

// Remove implements reconcile.Resource. The entry of an interface that has gone matches no packet.
func (u *Uplink) Remove() error {
	rows, err := u.rows()
	if err != nil {
		return err
	}
	return removeRows(rows)
}
