// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// Proxy6 has the host answer neighbour solicitations for an address at an uplink, as if it were its own (RFC 4389 section 4.1): the router
// there needs no route. The kernel does so at interfaces with proxy_ndp and forwarding.
type Proxy6 struct {
	// Device is the uplink. It is not ours.
	Device  string
	Address netip.Addr
}

var _ reconcile.Resource = Proxy6{}

// Kind returns "proxy6".
func (Proxy6) Kind() string { return "proxy6" }

// ID is device and address: "eth0 2001:db8::1".
func (p Proxy6) ID() string { return p.Device + " " + p.Address.String() }

// Observe implements reconcile.Resource. An entry that is not owned is somebody else's, which would go with ours.
func (p Proxy6) Observe(s *reconcile.Survey, owned bool) (reconcile.Observation, error) {
	index, err := LinkIndex(s, p.Device)
	if err != nil || index == 0 {
		return reconcile.Observation{}, cause("observe proxy6 "+p.ID(), err)
	}
	entries, err := hostTable(s, "proxies6", (*reader).proxies6)
	_, found := entries[neighbourKey{int(index), p.Address}]
	if err != nil || !found {
		return reconcile.Observation{}, cause("observe proxy6 "+p.ID(), err)
	}
	if !owned {
		detail := fmt.Sprintf("neighbour proxy for %s exists at %s, not made by flyover; delete it: ip -6 neigh del proxy %[1]s dev %[2]s", p.Address, p.Device)
		return reconcile.Observation{Status: reconcile.Foreign, Detail: detail}, nil
	}
	return reconcile.Observation{Status: reconcile.Same}, nil
}

// Apply implements reconcile.Resource.
func (p Proxy6) Apply() error {
	err := onDevice("", p.Device, func(h handle, l netlink.Link) error { return h.NeighSet(p.message(l)) })
	return cause("create proxy6 "+p.ID(), err)
}

// Remove implements reconcile.Resource.
func (p Proxy6) Remove() error {
	err := onDevice("", p.Device, func(h handle, l netlink.Link) error { return h.NeighDel(p.message(l)) })
	return cause("remove proxy6 "+p.ID(), unlessMissing(err))
}

func (p Proxy6) message(l netlink.Link) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: l.Attrs().Index, Family: unix.AF_INET6, Flags: netlink.NTF_PROXY, State: netlink.NUD_PERMANENT, IP: p.Address.AsSlice(),
	}
}
