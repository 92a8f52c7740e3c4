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
	Name string
	// Subnet and Gateway are IPv4's, Subnet6 and Gateway6 IPv6's; zero: the network has none of the family.
	Subnet, Subnet6   netip.Prefix
	Gateway, Gateway6 netip.Addr
	GatewayMAC        topology.MAC
	MTU               int
	Masquerade        bool
	// Isolated from the host's other networks.
	Isolated bool
	// EndpointDependent and OpenFilter are how it is masqueraded, see lib/network.h.
	EndpointDependent, OpenFilter bool
	// PortFirst and PortLast bound its outside ports, both included.
	PortFirst, PortLast uint16
	// Exempt are destinations that it is not masqueraded to.
	Exempt []netip.Prefix
	// Unguarded says that it has an endpoint without source guard.
	Unguarded bool
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
	rows := append([]row{
		entry[uint32, bpf.DatapathNetworkEntry]{bpf.DatapathMapFoNetworks, n.Number, n.entry(bridge)},
	}, neighbourRows(n.Number, n.Gateway, n.Gateway6, n.GatewayMAC, bridge)...)
	for _, p := range n.Exempt {
		rows = append(rows, exemptRow(n.Number, p))
	}
	for _, p := range []netip.Prefix{n.Subnet, n.Subnet6} {
		if p.IsValid() {
			rows = append(rows, subnetRow(n.Number, p))
		}
	}
	return rows, nil
}

func exemptRow(network uint32, p netip.Prefix) row {
	value := bpf.DatapathExemptEntry{Network: network}
	if p.Addr().Is6() {
		return entry[bpf.Datapath6ExemptKey, bpf.DatapathExemptEntry]{
			bpf.Datapath6MapFoExempt6,
			bpf.Datapath6ExemptKey{PrefixLen: 32 + uint32(p.Bits()), Network: network, Addr: p.Addr().As16()}, value,
		}
	}
	return entry[bpf.DatapathExemptKey, bpf.DatapathExemptEntry]{
		bpf.DatapathMapFoExempt4,
		bpf.DatapathExemptKey{PrefixLen: 32 + uint32(p.Bits()), Network: network, Addr: p.Addr().As4()}, value,
	}
}

func subnetRow(network uint32, p netip.Prefix) row {
	value := bpf.DatapathSubnetEntry{Network: network}
	if p.Addr().Is6() {
		return entry[bpf.Datapath6SubnetKey, bpf.DatapathSubnetEntry]{
			bpf.Datapath6MapFoSubnets6, bpf.Datapath6SubnetKey{PrefixLen: uint32(p.Bits()), Addr: p.Addr().As16()}, value,
		}
	}
	return entry[bpf.DatapathSubnetKey, bpf.DatapathSubnetEntry]{
		bpf.DatapathMapFoSubnets4, bpf.DatapathSubnetKey{PrefixLen: uint32(p.Bits()), Addr: p.Addr().As4()}, value,
	}
}

func (n *Network) entry(bridge uint32) bpf.DatapathNetworkEntry {
	e := bpf.DatapathNetworkEntry{
		Gateway4:   as4(n.Gateway),
		Gateway6:   n.Gateway6.As16(),
		Bridge:     bridge,
		Mtu:        uint32(n.MTU),
		GatewayMac: n.GatewayMAC,
		PortFirst:  n.PortFirst,
		PortLast:   n.PortLast,
	}
	if n.Subnet.IsValid() {
		e.Subnet4, e.Mask4 = n.Subnet.Addr().As4(), [4]byte(net.CIDRMask(n.Subnet.Bits(), 32))
	}
	if n.Subnet6.IsValid() {
		e.Subnet6, e.Mask6 = n.Subnet6.Addr().As16(), [16]byte(net.CIDRMask(n.Subnet6.Bits(), 128))
	}
	for flag, set := range map[bpf.DatapathNetworkFlags]bool{
		bpf.DatapathNetworkFlagsNETWORK_MASQUERADE:         n.Masquerade,
		bpf.DatapathNetworkFlagsNETWORK_ENDPOINT_DEPENDENT: n.EndpointDependent,
		bpf.DatapathNetworkFlagsNETWORK_OPEN_FILTER:        n.OpenFilter,
		bpf.DatapathNetworkFlagsNETWORK_EXEMPT:             len(n.Exempt) > 0,
		bpf.DatapathNetworkFlagsNETWORK_ROUTED:             !n.Isolated,
		bpf.DatapathNetworkFlagsNETWORK_UNGUARDED:          n.Unguarded,
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
	return errors.Join(putRows(rows), n.forget(*n))
}

// Remove implements reconcile.Resource. It goes by the network's number, since it may have had other subnets and gateways.
func (n *Network) Remove() error {
	entry := entry[uint32, bpf.DatapathNetworkEntry]{table: bpf.DatapathMapFoNetworks, key: n.Number}
	return errors.Join(n.forget(Network{}), entry.remove())
}

// forget removes the subnets, gateways and exempt destinations of the network's number, but for those of keep.
func (n *Network) forget(keep Network) error {
	isSubnet := func(network uint32, p netip.Prefix) bool {
		return network == n.Number && p != keep.Subnet && p != keep.Subnet6
	}
	isExempt := func(network uint32, p netip.Prefix) bool {
		return network == n.Number && !slices.Contains(keep.Exempt, p)
	}
	isGateway := func(network uint32, mac topology.MAC, a netip.Addr) bool {
		kept := a == keep.Gateway || keep.Gateway6.IsValid() && (a == keep.Gateway6 || a == n.GatewayMAC.LinkLocal())
		return network == n.Number && mac == n.GatewayMAC && !kept
	}
	exempts4 := entry[bpf.DatapathExemptKey, bpf.DatapathExemptEntry]{table: bpf.DatapathMapFoExempt4}
	exempts6 := entry[bpf.Datapath6ExemptKey, bpf.DatapathExemptEntry]{table: bpf.Datapath6MapFoExempt6}
	subnets4 := entry[bpf.DatapathSubnetKey, bpf.DatapathSubnetEntry]{table: bpf.DatapathMapFoSubnets4}
	subnets6 := entry[bpf.Datapath6SubnetKey, bpf.DatapathSubnetEntry]{table: bpf.Datapath6MapFoSubnets6}
	neighbours4 := entry[bpf.DatapathNeighbourKey, bpf.DatapathNeighbourEntry]{table: bpf.DatapathMapFoNeighbours4}
	neighbours6 := entry[bpf.Datapath6NeighbourKey, bpf.DatapathNeighbourEntry]{table: bpf.Datapath6MapFoNeighbours6}
	return errors.Join(
		exempts4.removeWhere(func(k bpf.DatapathExemptKey, _ bpf.DatapathExemptEntry) bool {
			return isExempt(k.Network, netip.PrefixFrom(netip.AddrFrom4(k.Addr), int(k.PrefixLen)-32))
		}),
		exempts6.removeWhere(func(k bpf.Datapath6ExemptKey, _ bpf.DatapathExemptEntry) bool {
			return isExempt(k.Network, netip.PrefixFrom(netip.AddrFrom16(k.Addr), int(k.PrefixLen)-32))
		}),
		subnets4.removeWhere(func(k bpf.DatapathSubnetKey, v bpf.DatapathSubnetEntry) bool {
			return isSubnet(v.Network, netip.PrefixFrom(netip.AddrFrom4(k.Addr), int(k.PrefixLen)))
		}),
		subnets6.removeWhere(func(k bpf.Datapath6SubnetKey, v bpf.DatapathSubnetEntry) bool {
			return isSubnet(v.Network, netip.PrefixFrom(netip.AddrFrom16(k.Addr), int(k.PrefixLen)))
		}),
		neighbours4.removeWhere(func(k bpf.DatapathNeighbourKey, v bpf.DatapathNeighbourEntry) bool {
			return isGateway(k.Network, v.Mac, netip.AddrFrom4(k.Addr))
		}),
		neighbours6.removeWhere(func(k bpf.Datapath6NeighbourKey, v bpf.DatapathNeighbourEntry) bool {
			return isGateway(k.Network, v.Mac, netip.AddrFrom16(k.Addr))
		}),
	)
}
