// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
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
func (n Neighbour) Observe(bool) (reconcile.Observation, error) {
	var o reconcile.Observation
	err := onDevice("", n.Device, func(_ handle, l netlink.Link) error {
		have, err := getNeighbour(n.message(l), nl.NewRtAttr(netlink.NDA_DST, n.Address.AsSlice()))
		if err != nil {
			return err
		}
		const unresolved = netlink.NUD_FAILED | netlink.NUD_INCOMPLETE
		if have.State == netlink.NUD_NONE || have.State&unresolved != 0 {
			return fs.ErrNotExist
		}
		var c changes
		c.compare("mac", macOf(have.HardwareAddr), n.MAC)
		c.note("learned -> permanent", have.State != netlink.NUD_PERMANENT)
		o = c.observation()
		return nil
	})
	return o, cause("observe neighbour "+n.ID(), unlessMissing(err))
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

// getNeighbour asks for one entry of the table that m belongs to. The library can only dump whole tables, which for a thousand
// endpoints is a thousand times a thousand entries. The error is ENOENT when there is none.
func getNeighbour(m *netlink.Neigh, key *nl.RtAttr) (*netlink.Neigh, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	req.AddData(&netlink.Ndmsg{Family: uint8(m.Family), Index: uint32(m.LinkIndex), Flags: uint8(m.Flags)})
	req.AddData(key)
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return nil, err
	}
	if len(msgs) == 0 {
		return nil, errors.New("get neighbour: empty reply")
	}
	return netlink.NeighDeserialize(msgs[0])
}
