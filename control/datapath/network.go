// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"flyover/bpf"
	"flyover/control/reconcile"
	"flyover/control/topology"
)

// Network is what the maps say of one network.
type Network struct {
	// Number is the index in fo_networks, unique and stable while the network lives.
	Number uint32
	// Name is the network's and its bridge device's.
	Name       string
	Subnet     netip.Prefix
	Gateway    netip.Addr
	GatewayMAC topology.MAC
	MTU        int
	Masquerade bool
	// EndpointDependent and OpenFilter are how it is masqueraded, see lib/network.h.
	EndpointDependent, OpenFilter bool
	// PortFirst and PortLast bound its outside ports, both included.
	PortFirst, PortLast uint16
	// Exempt are destinations that it is not masqueraded to.
	Exempt []netip.Prefix
}

var _ reconcile.Lingerer = (*Network)(nil)

// Kind returns "network".
func (*Network) Kind() string { return "network" }

// ID is the name.
func (n *Network) ID() string { return n.Name }

// Lingers implements reconcile.Lingerer: as long as a program may see the network's packets, it knows the network.
func (*Network) Lingers() {}

func (n *Network) rows() ([]row, error) {
	bridge, err := ifindexOf(n.Name)
	if err != nil {
		return nil, err
	}
	rows := []row{
		entry[uint32, bpf.DatapathNetworkEntry]{bpf.DatapathMapFoNetworks, n.Number, n.entry(bridge)},
		neighbourRow(n.Number, n.Gateway.As4(), n.GatewayMAC, bridge),
	}
	if !n.Masquerade {
		return rows, nil
	}
	for _, p := range n.Exempt {
		rows = append(rows, entry[bpf.DatapathExempt4Key, bpf.DatapathExemptEntry]{
			bpf.DatapathMapFoExempt4,
			bpf.DatapathExempt4Key{PrefixLen: 32 + uint32(p.Bits()), Network: n.Number, Addr: p.Addr().As4()},
			bpf.DatapathExemptEntry{Network: n.Number},
		})
	}
	return append(rows, entry[bpf.DatapathSubnet4Key, bpf.DatapathSubnetEntry]{
		bpf.DatapathMapFoSubnets4,
		bpf.DatapathSubnet4Key{PrefixLen: uint32(n.Subnet.Bits()), Addr: n.Subnet.Addr().As4()},
		bpf.DatapathSubnetEntry{Network: n.Number},
	}), nil
}

func (n *Network) entry(bridge uint32) bpf.DatapathNetworkEntry {
	e := bpf.DatapathNetworkEntry{
		Gateway4:   n.Gateway.As4(),
		Subnet4:    n.Subnet.Addr().As4(),
		Mask4:      [4]byte(net.CIDRMask(n.Subnet.Bits(), 32)),
		Bridge:     bridge,
		Mtu:        uint32(n.MTU),
		GatewayMac: n.GatewayMAC,
		PortFirst:  n.PortFirst,
		PortLast:   n.PortLast,
	}
	for flag, set := range map[bpf.DatapathNetworkFlags]bool{
		bpf.DatapathNetworkFlagsNETWORK_MASQUERADE:         n.Masquerade,
		bpf.DatapathNetworkFlagsNETWORK_ENDPOINT_DEPENDENT: n.EndpointDependent,
		bpf.DatapathNetworkFlagsNETWORK_OPEN_FILTER:        n.OpenFilter,
		bpf.DatapathNetworkFlagsNETWORK_EXEMPT:             len(n.Exempt) > 0,
	} {
		if set {
			e.Flags |= flag
		}
	}
	return e
}

// Observe implements reconcile.Resource.
func (n *Network) Observe(s *reconcile.Survey, _ bool) (reconcile.Observation, error) {
	rows, err := n.rows()
	if err != nil {
		return reconcile.Observation{}, err
	}
	return observeRows(s, rows)
}

// Apply implements reconcile.Resource. What the network was before stays until it is known as what it is.
func (n *Network) Apply() error {
	rows, err := n.rows()
	if err != nil {
		return err
	}
	return errors.Join(putRows(rows), n.forget(n.Subnet, n.Gateway, n.Masquerade, n.Exempt))
}

// Remove implements reconcile.Resource. It goes by the network's number, since it may have had other subnets and gateways.
func (n *Network) Remove() error {
	entry := entry[uint32, bpf.DatapathNetworkEntry]{table: bpf.DatapathMapFoNetworks, key: n.Number}
	return errors.Join(n.forget(netip.Prefix{}, netip.Addr{}, false, nil), entry.remove())
}

// forget removes the subnets, gateways and exempt destinations of the network's number, but for these.
func (n *Network) forget(subnet netip.Prefix, gateway netip.Addr, masquerade bool, exempt []netip.Prefix) error {
	subnets := entry[bpf.DatapathSubnet4Key, bpf.DatapathSubnetEntry]{table: bpf.DatapathMapFoSubnets4}
	neighbours := entry[bpf.DatapathNeighbour4Key, bpf.DatapathNeighbourEntry]{table: bpf.DatapathMapFoNeighbours4}
	exempts := entry[bpf.DatapathExempt4Key, bpf.DatapathExemptEntry]{table: bpf.DatapathMapFoExempt4}
	return errors.Join(
		exempts.removeWhere(func(k bpf.DatapathExempt4Key, _ bpf.DatapathExemptEntry) bool {
			return k.Network == n.Number && !slices.Contains(exempt, netip.PrefixFrom(netip.AddrFrom4(k.Addr), int(k.PrefixLen)-32))
		}),
		subnets.removeWhere(func(k bpf.DatapathSubnet4Key, v bpf.DatapathSubnetEntry) bool {
			prefix := netip.PrefixFrom(netip.AddrFrom4(k.Addr), int(k.PrefixLen))
			return v.Network == n.Number && !(masquerade && prefix == subnet)
		}),
		neighbours.removeWhere(func(k bpf.DatapathNeighbour4Key, v bpf.DatapathNeighbourEntry) bool {
			return k.Network == n.Number && v.Mac == n.GatewayMAC && netip.AddrFrom4(k.Addr) != gateway
		}),
	)
}
