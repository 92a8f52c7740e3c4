// SPDX-License-Identifier: Apache-2.0

// Package config is the configuration file: its types, its defaults, and every reason for which a file is refused.
package config

import (
	"net"
	"net/netip"
)

// Config is a whole configuration, defaults filled in and validated.
type Config struct {
	// Networks in the order of the file.
	Networks []Network
	// Uplinks are the host interfaces that lead outside. Empty: the interfaces of the host's default routes, found at `up`.
	Uplinks []string
}

// Network is one L2 segment with a bridge device and a gateway address.
type Network struct {
	// Name is the network's name and its bridge device's.
	Name string
	// Subnets of the network, at most one for each address family, no host bits set. IPv4 only for now.
	Subnets []netip.Prefix
	// Gateway is the host's address on the network, inside one of Subnets, carried by the bridge device.
	Gateway netip.Addr
	// MTU in bytes of the bridge and of both ends of each endpoint. Default 1500, 576 to 65535.
	MTU int
	// Masquerade translates the network's traffic to the outside. Default true.
	Masquerade bool
	// Datapath that forwards the network. Default EBPF.
	Datapath Datapath
	// Endpoints in the order of the file.
	Endpoints []Endpoint
}

// Endpoint is one interface in one namespace on one network.
type Endpoint struct {
	// Namespace under /run/netns, made by flyover.
	Namespace string
	// Interface is the name inside the namespace. Default "veth-" + Namespace.
	Interface string
	// HostInterface is the name of the host's end. Default Interface + "-br".
	HostInterface string
	// Addresses of the endpoint, each inside one of the network's subnets, at most one for each address family.
	Addresses []netip.Addr
	// MAC of the interface inside the namespace. Default: made from the network's name and the first address, locally
	// administered and stable.
	MAC net.HardwareAddr
}

// Datapath names what forwards a network's packets.
type Datapath string

const (
	// EBPF forwards, answers ARP and masquerades in flyover's TC programs.
	EBPF Datapath = "ebpf"
	// Kernel forwards with the Linux bridge and masquerades with nftables.
	Kernel Datapath = "kernel"
)
