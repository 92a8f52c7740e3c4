// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// FDB is a static entry of the bridge's forwarding table: frames to the address leave through the port and are never flooded. It is sticky:
// the kernel would move another static one to any port that learns, where IEEE 802.1D section 7.8 has it stay.
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
func (f FDB) Observe(s *reconcile.Survey, _ bool) (reconcile.Observation, error) {
	_, port, err := deviceIn(s, "", f.Device)
	if err != nil || port == nil || port.MasterIndex == 0 {
		return reconcile.Observation{}, cause("observe fdb "+f.ID(), err)
	}
	entries, err := hostTable(s, "fdb", (*reader).fdb)
	have, found := entries[fdbKey{port.MasterIndex, f.MAC}]
	if err != nil || !found {
		return reconcile.Observation{}, cause("observe fdb "+f.ID(), err)
	}
	var c changes
	c.note("port -> "+f.Device, have.index != port.Index)
	c.note("not static", have.state != netlink.NUD_NOARP)
	c.note("not sticky", have.flags&netlink.NTF_STICKY == 0)
	return c.observation(), nil
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
		Flags:        netlink.NTF_MASTER | netlink.NTF_STICKY,
		HardwareAddr: f.MAC.Hardware(),
	}
}
