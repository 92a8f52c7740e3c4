// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// addresses are a gateway's or an endpoint's: one in each of the network's subnets, in their order. What names them, "gateway", and
// claim, if not nil, may refuse one more. Without usable subnets there is nothing to compare with.
func (v *validator) addresses(list located[[]located[string]], what, label string, subnets []netip.Prefix,
	claim func(netip.Addr, position) bool) []netip.Addr {
	var addrs []netip.Addr
	have := map[string]bool{} // by family
	refused := !list.ok
	for _, text := range list.value {
		if !text.ok {
			refused = true
			continue
		}
		addr, err := parseAddress(text.value)
		family := familyOf(addr)
		problem := ""
		if err == nil {
			problem = outsideHosts(addr, subnets)
		}
		switch {
		case err != nil:
			v.add(text.at, "%s %s of %s: %v", what, quote(text.value), label, err)
		case have[family]:
			v.add(text.at, "%s has more than one %s %s; keep one", label, family, what)
		case problem != "":
			v.add(text.at, "%s %s of %s %s", what, addr, label, problem)
		case claim == nil || claim(addr, text.at):
			have[family] = true
			addrs = append(addrs, addr)
			continue
		}
		refused = true
	}
	for _, subnet := range subnets {
		// A refused one was perhaps meant to be it.
		if family := familyOf(subnet.Addr()); !refused && !have[family] {
			v.add(list.at, "%s has no %s %s; add one in %s", label, family, what, subnet)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare) // IPv4 before IPv6
	return addrs
}

// outsideHosts says why addr cannot be a host of the network; without a usable subnet it has nothing to compare with.
func outsideHosts(addr netip.Addr, subnets []netip.Prefix) string {
	if len(subnets) == 0 {
		return ""
	}
	subnet, there := subnetFor(addr, subnets)
	switch {
	case !there:
		return fmt.Sprintf("is %[1]s, and the network has no %[1]s subnet; remove it, or add one to \"subnets:\"", familyOf(addr))
	case !subnet.Contains(addr):
		return "is outside the network's subnet " + subnet.String()
	case addr == subnet.Addr() && addr.Is6():
		return "is the Subnet-Router anycast address of subnet " + subnet.String() + "; choose another address"
	case addr == subnet.Addr():
		return "is the network address of subnet " + subnet.String() + "; choose another address"
	case addr.Is4() && addr == broadcast(subnet):
		return "is the broadcast address of subnet " + subnet.String() + "; choose another address"
	}
	return ""
}

// subnetFor is the one of the subnets that has the family of addr.
func subnetFor(addr netip.Addr, subnets []netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(subnets, func(s netip.Prefix) bool { return s.Addr().Is4() == addr.Is4() })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return subnets[i], true
}

func familyOf(addr netip.Addr) string {
	if addr.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
