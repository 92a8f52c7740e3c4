// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Uplink is what the datapath must know of an interface that leads outside.
type Uplink struct {
	Name  string
	Index int
	// MTU in bytes.
	MTU int
	MAC MAC
	// Address that the kernel gives to packets that leave through it.
	Address netip.Addr
}

// DefaultRouteInterfaces returns the interfaces of the host's IPv4 default routes, best metric first, each once.
func DefaultRouteInterfaces() ([]string, error) {
	routes, err := defaultRoutes()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, route := range routes {
		for _, hop := range hopsOf(route) {
			l, err := host().LinkByIndex(hop.LinkIndex)
			if err != nil {
				return nil, fmt.Errorf("find interface %d of default route: %w", hop.LinkIndex, err)
			}
			if name := l.Attrs().Name; !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// FindUplink describes the named interface. It must be an Ethernet device with a global IPv4 address.
func FindUplink(name string) (Uplink, error) {
	l, err := findLink(host(), name)
	if err != nil {
		return Uplink{}, err
	}
	if l == nil {
		return Uplink{}, fmt.Errorf("find uplink %s: no such interface", name)
	}
	a := l.Attrs()
	if a.EncapType != "ether" || len(a.HardwareAddr) != len(MAC{}) {
		return Uplink{}, fmt.Errorf("use uplink %s: link type %s, only Ethernet works", name, a.EncapType)
	}
	source, err := sourceAddress(l)
	if err != nil {
		return Uplink{}, fmt.Errorf("find address of uplink %s: %w", name, err)
	}
	return Uplink{Name: a.Name, Index: a.Index, MTU: a.MTU, MAC: macOf(a.HardwareAddr), Address: source}, nil
}

// Addresses returns the IPv4 addresses of the named interface.
func Addresses(name string) ([]netip.Prefix, error) {
	l, err := findLink(host(), name)
	if err != nil || l == nil {
		return nil, err
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return host().AddrList(l, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	var prefixes []netip.Prefix
	for _, addr := range addrs {
		prefixes = append(prefixes, prefixOf(addr.IPNet))
	}
	return prefixes, nil
}

// sourceAddress is what the kernel chooses for a packet to the outside: the source of the best default route through the
// interface, else its first primary global address, preferring the subnet that the route's gateway is in.
func sourceAddress(l netlink.Link) (netip.Addr, error) {
	routes, err := defaultRoutes()
	if err != nil {
		return netip.Addr{}, err
	}
	var gateway netip.Addr
	for _, route := range routes {
		for _, hop := range hopsOf(route) {
			if hop.LinkIndex != l.Attrs().Index || gateway.IsValid() {
				continue
			}
			if source := addrOf(route.Src); source.IsValid() {
				return source, nil
			}
			gateway = addrOf(hop.Gw)
		}
	}
	return primaryAddress(l, gateway)
}

func primaryAddress(l netlink.Link, gateway netip.Addr) (netip.Addr, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return host().AddrList(l, netlink.FAMILY_V4) })
	if err != nil {
		return netip.Addr{}, err
	}
	var first netip.Addr
	for _, addr := range addrs {
		if addr.Scope != unix.RT_SCOPE_UNIVERSE || addr.Flags&unix.IFA_F_SECONDARY != 0 {
			continue
		}
		p := prefixOf(addr.IPNet)
		if p.Contains(gateway) {
			return p.Addr(), nil
		}
		if !first.IsValid() {
			first = p.Addr()
		}
	}
	if !first.IsValid() {
		return first, errors.New("no global IPv4 address")
	}
	return first, nil
}

// defaultRoutes returns the IPv4 default routes of the main table that lead somewhere, best metric first.
func defaultRoutes() ([]netlink.Route, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	routes, err := dump(func() ([]netlink.Route, error) {
		const mask = netlink.RT_FILTER_DST | netlink.RT_FILTER_TABLE | netlink.RT_FILTER_TYPE
		return host().RouteListFiltered(netlink.FAMILY_V4, filter, mask)
	})
	if err != nil {
		return nil, fmt.Errorf("list default routes: %w", err)
	}
	slices.SortStableFunc(routes, func(a, b netlink.Route) int { return a.Priority - b.Priority })
	return routes, nil
}

// hopsOf makes a route with one next hop look like one with several.
func hopsOf(route netlink.Route) []*netlink.NexthopInfo {
	if len(route.MultiPath) > 0 {
		return route.MultiPath
	}
	return []*netlink.NexthopInfo{{LinkIndex: route.LinkIndex, Gw: route.Gw}}
}
