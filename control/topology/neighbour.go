// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// Neighbour is a permanent entry of the host's neighbour table: the stack never asks who has the address.
type Neighbour struct {
	// Device is the bridge that the address is behind.
	Device  string
	Address netip.Addr
	MAC     MAC
}

var _ reconcile.Resource = Neighbour{}

// Kind returns "neighbour".
func (Neighbour) Kind() string { return "neighbour" }

// ID is device and address: "br1 192.168.15.1".
func (n Neighbour) ID() string { return n.Device + " " + n.Address.String() }

// Observe implements reconcile.Resource. The device is ours, so no entry is foreign.
func (n Neighbour) Observe(s *reconcile.Survey, _ bool) (reconcile.Observation, error) {
	_, l, err := deviceIn(s, "", n.Device)
	if err != nil || l == nil {
		return reconcile.Observation{}, cause("observe neighbour "+n.ID(), err)
	}
	entries, err := hostTable(s, "neighbours", (*reader).neighbours)
	const unresolved = netlink.NUD_FAILED | netlink.NUD_INCOMPLETE
	have := entries[neighbourKey{l.Index, n.Address}]
	if err != nil || have.state == netlink.NUD_NONE || have.state&unresolved != 0 {
		return reconcile.Observation{}, cause("observe neighbour "+n.ID(), err)
	}
	var c changes
	c.compare("mac", have.mac, n.MAC)
	c.note("learned -> permanent", have.state != netlink.NUD_PERMANENT)
	return c.observation(), nil
}

// Apply implements reconcile.Resource.
func (n Neighbour) Apply() error {
	err := onDevice("", n.Device, func(h handle, l netlink.Link) error { return h.NeighSet(n.message(l)) })
	return cause("create neighbour "+n.ID(), err)
}

// Remove implements reconcile.Resource.
func (n Neighbour) Remove() error {
	err := onDevice("", n.Device, func(h handle, l netlink.Link) error { return h.NeighDel(n.message(l)) })
	return cause("remove neighbour "+n.ID(), unlessMissing(err))
}

func (n Neighbour) message(l netlink.Link) *netlink.Neigh {
	family := netlink.FAMILY_V4
	if n.Address.Is6() {
		family = netlink.FAMILY_V6
	}
	return &netlink.Neigh{
		LinkIndex:    l.Attrs().Index,
		Family:       family,
		State:        netlink.NUD_PERMANENT,
		Type:         unix.RTN_UNICAST,
		IP:           n.Address.AsSlice(),
		HardwareAddr: n.MAC.Hardware(),
	}
}
