// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// Route is a route of the main table with metric 0.
type Route struct {
	// Namespace of the route. Empty: the host's.
	Namespace string
	// Destination of the route. Zero: the default route.
	Destination netip.Prefix
	// Gateway that the packets go to. Zero: the destination is on the link.
	Gateway netip.Addr
	Device  string
}

var _ reconcile.Resource = Route{}

// Kind returns "route".
func (Route) Kind() string { return "route" }

// ID is the namespace if any and the destination: "ns1 default".
func (r Route) ID() string {
	if d := r.destination(); d.Bits() > 0 {
		return inside(r.Namespace) + d.String()
	}
	if r.family() == netlink.FAMILY_V6 {
		return inside(r.Namespace) + "default6"
	}
	return inside(r.Namespace) + "default"
}

// destination spells the default route out, in the family of the gateway.
func (r Route) destination() netip.Prefix {
	switch {
	case r.Destination.IsValid():
		return r.Destination.Masked()
	case r.Gateway.Is6():
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func (r Route) family() int {
	if r.destination().Addr().Is6() {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// Observe implements reconcile.Resource. In a namespace every route is ours to change; on the host only those that are owned.
func (r Route) Observe(s *reconcile.Survey, owned bool) (reconcile.Observation, error) {
	routes, err := routesOf(s, r.Namespace)
	if errors.Is(err, fs.ErrNotExist) {
		return reconcile.Observation{}, nil
	}
	if err != nil {
		return reconcile.Observation{}, fmt.Errorf("observe route %s: %w", r.ID(), err)
	}
	for _, have := range routes {
		if have.destination != r.destination() || have.metric != r.metric() { // a new one would come next to it
			continue
		}
		if r.Namespace == "" && !owned {
			detail := fmt.Sprintf("route to %s exists, not made by flyover", r.destination())
			return reconcile.Observation{Status: reconcile.Foreign, Detail: detail}, nil
		}
		_, l, err := deviceIn(s, r.Namespace, r.Device)
		var c changes
		c.compare("gateway", have.gateway, r.Gateway)
		c.note("device -> "+r.Device, l == nil || have.index != l.Index || have.multipath)
		return c.observation(), cause("observe route "+r.ID(), err)
	}
	return reconcile.Observation{}, nil
}

// metric is what the kernel makes of a route without one.
func (r Route) metric() int {
	if r.family() == netlink.FAMILY_V6 {
		return 1024
	}
	return 0
}

// Apply implements reconcile.Resource.
func (r Route) Apply() error {
	err := onDevice(r.Namespace, r.Device, func(h handle, l netlink.Link) error {
		return h.RouteReplace(r.message(l))
	})
	return cause("create route "+r.ID(), err)
}

// Remove implements reconcile.Resource.
func (r Route) Remove() error {
	err := onDevice(r.Namespace, r.Device, func(h handle, l netlink.Link) error {
		return h.RouteDel(r.message(l))
	})
	return cause("remove route "+r.ID(), unlessMissing(err))
}

func (r Route) message(l netlink.Link) *netlink.Route {
	m := &netlink.Route{
		Dst:       netOf(r.destination()),
		LinkIndex: l.Attrs().Index,
		Protocol:  unix.RTPROT_STATIC,
		Table:     unix.RT_TABLE_MAIN,
	}
	if r.Gateway.IsValid() {
		m.Gw = r.Gateway.AsSlice()
	} else if r.family() == netlink.FAMILY_V4 {
		m.Scope = netlink.SCOPE_LINK
	}
	return m
}
