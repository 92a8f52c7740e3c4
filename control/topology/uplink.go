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
	// Address and Address6 are those that the kernel gives to packets that leave through it, zero without any of the family.
	Address, Address6 netip.Addr
}

// DefaultRouteInterfaces returns the interfaces of the host's default routes of one family, best metric first, each once.
func DefaultRouteInterfaces(ipv6 bool) ([]string, error) {
	family := netlink.FAMILY_V4
	if ipv6 {
		family = netlink.FAMILY_V6
	}
	routes, err := defaultRoutes(family)
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

// FindUplink describes the named interface, which must be an Ethernet device.
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
	source, err4 := sourceAddress(l)
	source6, err6 := sourceAddress6(l)
	if err := errors.Join(err4, err6); err != nil {
		return Uplink{}, fmt.Errorf("find address of uplink %s: %w", name, err)
	}
	return Uplink{Name: a.Name, Index: a.Index, MTU: a.MTU, MAC: macOf(a.HardwareAddr), Address: source, Address6: source6}, nil
}

// Routers6 returns the next hops of the host's IPv6 routes by the named interface.
func Routers6(name string) ([]netip.Addr, error) {
	l, err := findLink(host(), name)
	if err != nil || l == nil {
		return nil, err
	}
	routes, err := dump(func() ([]netlink.Route, error) { return host().RouteList(nil, netlink.FAMILY_V6) })
	if err != nil {
		return nil, fmt.Errorf("list routes by %s: %w", name, err)
	}
	var routers []netip.Addr
	for _, route := range routes {
		for _, hop := range hopsOf(route) {
			if router, ok := netip.AddrFromSlice(hop.Gw); ok && hop.LinkIndex == l.Attrs().Index {
				routers = append(routers, router)
			}
		}
	}
	return routers, nil
}

// Addresses returns the addresses of the named interface, of both families.
func Addresses(name string) ([]netip.Prefix, error) {
	l, err := findLink(host(), name)
	if err != nil || l == nil {
		return nil, err
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return host().AddrList(l, netlink.FAMILY_ALL) })
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
	routes, err := defaultRoutes(netlink.FAMILY_V4)
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
	return primaryAddress(l, netlink.FAMILY_V4, gateway)
}

// farAway is some address of the outside's, to ask for routes to.
var farAway = netip.MustParseAddr("2000::1")

// sourceAddress6 asks the kernel, whose choice has many rules (RFC 6724): a unique local address comes after a global one, for
// instance. An interface that has no route to the outside still has its first global address.
func sourceAddress6(l netlink.Link) (netip.Addr, error) {
	routes, err := host().RouteGetWithOptions(farAway.AsSlice(), &netlink.RouteGetOptions{OifIndex: l.Attrs().Index})
	if err != nil && !errors.Is(err, unix.ENETUNREACH) {
		return netip.Addr{}, err
	}
	addrs, err := Addresses(l.Attrs().Name)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, route := range routes {
		source := addrOf(route.Src)
		// Another interface's is not the one that answers come to by this one.
		if source.IsGlobalUnicast() && slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr() == source }) {
			return source, nil
		}
	}
	return primaryAddress(l, netlink.FAMILY_V6, netip.Addr{})
}

// primaryAddress is zero without any. IPv6's secondary addresses are the temporary ones.
func primaryAddress(l netlink.Link, family int, gateway netip.Addr) (netip.Addr, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return host().AddrList(l, family) })
	if err != nil {
		return netip.Addr{}, err
	}
	const unfit = unix.IFA_F_SECONDARY | unix.IFA_F_DEPRECATED | unix.IFA_F_DADFAILED
	var first netip.Addr
	for _, addr := range addrs {
		if addr.Scope != unix.RT_SCOPE_UNIVERSE || addr.Flags&unfit != 0 {
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
	return first, nil
}

// defaultRoutes returns the default routes of the main table that lead somewhere, best metric first.
func defaultRoutes(family int) ([]netlink.Route, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	routes, err := dump(func() ([]netlink.Route, error) {
		const mask = netlink.RT_FILTER_DST | netlink.RT_FILTER_TABLE | netlink.RT_FILTER_TYPE
		return host().RouteListFiltered(family, filter, mask)
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
