// SPDX-License-Identifier: Apache-2.0

// Package config is the configuration file: its types, its defaults, and every reason for which a file is refused.
package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Config is a whole configuration, defaults filled in and validated.
type Config struct {
	// Networks in the order of the file.
	Networks []Network
	// Sessions is how many translated flows the host can have at once. Default 131072, 1024 to 4194304.
	Sessions int
	// Uplinks are the host interfaces that lead outside. Empty: the interfaces of the host's default routes, found at `up`.
	Uplinks []string
}

// Network is one L2 segment with a bridge device and a gateway address.
type Network struct {
	// Name is the network's name and its bridge device's.
	Name string
	// Subnets of the network, at most one for each address family, IPv4 first, no host bits set.
	Subnets []netip.Prefix
	// Gateways are the host's addresses on the network, one in each of Subnets and in their order, carried by the bridge device.
	Gateways []netip.Addr
	// MTU in bytes of the bridge and of both ends of each endpoint. Default 1500, 576 to 65535; with IPv6 at least 1280.
	MTU int
	// Masquerade translates the network's traffic to the outside. Default true.
	Masquerade bool
	// NDProxy has the host answer neighbour solicitations for the endpoints at the uplinks, so that no router needs a route to the network: of
	// networks with IPv6 that are not masqueraded. Default false.
	NDProxy bool
	// Isolation keeps the network apart from the host's other networks: nothing passes between it and them. Default true.
	Isolation bool
	// Datapath that forwards the network. Default EBPF.
	Datapath Datapath
	// Translation of a masqueraded network, by the EBPF datapath alone.
	Translation Translation
	// Broadcasts of each endpoint, and multicasts, that the bridge copies to everybody, a second; 0 is no limit. By the EBPF datapath
	// alone. Default 1000, with it.
	Broadcasts int
	// Endpoints in the order of the file.
	Endpoints []Endpoint
}

// IPv4 tells whether the network has an IPv4 subnet.
func (n Network) IPv4() bool {
	return slices.ContainsFunc(n.Subnets, func(s netip.Prefix) bool { return s.Addr().Is4() })
}

// IPv6 tells whether the network has an IPv6 subnet.
func (n Network) IPv6() bool {
	return slices.ContainsFunc(n.Subnets, func(s netip.Prefix) bool { return s.Addr().Is6() })
}

// Unguarded tells whether one of the network's endpoints is, so that stations may be behind it.
func (n Network) Unguarded() bool {
	return slices.ContainsFunc(n.Endpoints, func(e Endpoint) bool { return e.Unguarded })
}

// InSubnet is one of the network's addresses with the length of its subnet: 192.168.15.10/24.
func (n Network) InSubnet(addr netip.Addr) netip.Prefix {
	subnet, _ := subnetFor(addr, n.Subnets)
	return netip.PrefixFrom(addr, subnet.Bits())
}

// Translation is how a network is masqueraded.
type Translation struct {
	// Mapping is what an outside port stands for. Default EndpointIndependent.
	Mapping Mapping
	// Filtering is who may send to an outside port. Default AddressDependent; with EndpointDependent it is by address and port.
	Filtering Filtering
	// Ports that the outside sees. The zero range: chosen at `up`, beside those that the kernel gives to the host's own sockets.
	Ports PortRange
	// Limits of each endpoint.
	Limits Limits
	// Exempt are destinations that see the network's own addresses (RFC 6888 REQ-6), no host bits set. Default none.
	Exempt []netip.Prefix
}

// Mapping is a mapping behaviour of RFC 4787 section 4.1.
type Mapping string

const (
	// EndpointIndependent mapping: one outside port for an inside port, whatever the remote (RFC 4787 REQ-1).
	EndpointIndependent Mapping = "endpoint-independent"
	// EndpointDependent mapping: one outside port for each flow, which flows to other remotes may share.
	EndpointDependent Mapping = "endpoint-dependent"
)

// Filtering is a filtering behaviour of RFC 4787 section 5.
type Filtering string

const (
	// AddressDependent filtering: remotes whose address the inside port has sent to.
	AddressDependent Filtering = "address-dependent"
	// OpenFiltering, endpoint-independent in the RFC's words: anybody.
	OpenFiltering Filtering = "endpoint-independent"
)

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// Overlaps tells whether the ranges have a port in common.
func (r PortRange) Overlaps(other PortRange) bool {
	return r.First <= other.Last && other.First <= r.Last
}

// String is how the range is written in a file: "1024-32767".
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Limits are what one endpoint may take of the translation (RFC 6888 REQ-4); 0 is no limit.
type Limits struct {
	// Sessions at once. Default a quarter of Config.Sessions.
	Sessions int
	// Mappings at once, each an outside port. Default 8192.
	Mappings int
	// Rate of new sessions, a second. Default 20000.
	Rate int
	// Burst of new sessions at once. Default twice Rate; at least 1 where Rate is.
	Burst int
}

// Endpoint is one interface in one namespace on one network.
type Endpoint struct {
	// Namespace under /run/netns, made by flyover.
	Namespace string
	// Interface is the name inside the namespace. Default "veth-" + Namespace.
	Interface string
	// HostInterface is the name of the host's end. Default Interface + "-br".
	HostInterface string
	// Addresses of the endpoint, one in each of the network's subnets and in their order.
	Addresses []netip.Addr
	// MAC of the interface inside the namespace. Default: made from the network's name and the first address, locally
	// administered and stable.
	MAC net.HardwareAddr
	// Unguarded endpoints may send from other MACs and addresses than theirs, as long as those are nobody else's by configuration: there are
	// stations behind them, which the bridge learns of. "source-guard: false" in a file. Default false; the EBPF datapath alone has a guard.
	Unguarded bool
}

// Datapath names what forwards a network's packets.
type Datapath string

const (
	// EBPF forwards, answers ARP and masquerades in flyover's TC programs.
	EBPF Datapath = "ebpf"
	// Kernel forwards with the Linux bridge and masquerades with nftables.
	Kernel Datapath = "kernel"
)
