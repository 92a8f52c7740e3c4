// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// FDB is a static entry of the bridge's forwarding table: frames to the address leave through the port and are never flooded.
type FDB struct {
	// Device is the bridge port: the host's end of the endpoint's pair.
	Device string
	MAC    MAC
}

var _ reconcile.Resource = FDB{}

// Kind returns "fdb".
func (FDB) Kind() string { return "fdb" }

// ID is port and address: "veth-ns1-br 02:00:00:00:00:01".
func (f FDB) ID() string { return f.Device + " " + f.MAC.String() }

// Observe implements reconcile.Resource. The bridge is ours, so no entry is foreign.
func (f FDB) Observe(bool) (reconcile.Observation, error) {
	var o reconcile.Observation
	err := onDevice("", f.Device, func(_ handle, l netlink.Link) error {
		if l.Attrs().MasterIndex == 0 {
			return nil
		}
		have, err := getNeighbour(f.message(l), nl.NewRtAttr(netlink.NDA_LLADDR, f.MAC[:]))
		if err != nil {
			return err
		}
		var c changes
		c.note("port -> "+f.Device, have.LinkIndex != l.Attrs().Index)
		c.note("not static", have.State != netlink.NUD_NOARP)
		o = c.observation()
		return nil
	})
	return o, cause("observe fdb "+f.ID(), unlessMissing(err))
}

// Apply implements reconcile.Resource.
func (f FDB) Apply() error {
	err := onDevice("", f.Device, func(h handle, l netlink.Link) error {
		if l.Attrs().MasterIndex == 0 {
			return fmt.Errorf("%s is not a bridge port", f.Device)
		}
		return h.NeighSet(f.message(l))
	})
	return cause("create fdb "+f.ID(), err)
}

// Remove implements reconcile.Resource. A port that left its bridge (EOPNOTSUPP) has left its entries behind.
func (f FDB) Remove() error {
	err := onDevice("", f.Device, func(h handle, l netlink.Link) error { return h.NeighDel(f.message(l)) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return cause("remove fdb "+f.ID(), unlessMissing(err))
}

func (f FDB) message(l netlink.Link) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex:    l.Attrs().Index,
		Family:       unix.AF_BRIDGE,
		State:        netlink.NUD_NOARP,
		Flags:        netlink.NTF_MASTER,
		HardwareAddr: f.MAC.Hardware(),
	}
}
