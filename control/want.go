// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"net/netip"

	"flyover/control/config"
	"flyover/control/datapath"
	"flyover/control/masquerade"
	"flyover/control/reconcile"
	"flyover/control/topology"
	"flyover/loader"
)

// surroundings are what the wanted state depends on besides the configuration.
type surroundings struct {
	uplinks []topology.Uplink
	hook    loader.Hook
	build   string
	// ports are the outside ports of networks that name none: none that the kernel gives to the host's own sockets.
	ports config.PortRange
	// local are the ports that the kernel gives to the host's own sockets.
	local config.PortRange
}

// want lists every object that the configuration asks for, in the order in which they can be made. Whatever guards the uplinks
// comes before whatever lets packets reach them.
func want(cfg *config.Config, in surroundings, n *numbers) []reconcile.Resource {
	var w []reconcile.Resource
	ebpf := networksOf(cfg, config.EBPF)
	if len(ebpf) > 0 {
		w = append(w, &datapath.BPFFS{}, &datapath.Programs{Build: in.build, Sessions: uint32(cfg.Sessions)})
	}
	for _, net := range cfg.Networks {
		w = append(w, wantBridge(net)...)
	}
	for _, net := range ebpf {
		w = append(w, wantNetwork(net, in, n))
	}
	if len(ebpf) > 0 {
		w = append(w, wantUplinks(ebpf, in)...)
	}
	w = append(w, wantMasquerade(cfg, in)...)
	w = append(w, wantForwarding(cfg, in)...)
	defaults := map[string]bool{}
	for _, net := range cfg.Networks {
		for _, ep := range net.Endpoints {
			if !defaults[ep.Namespace] {
				w = append(w, topology.Namespace{Name: ep.Namespace})
			}
			w = append(w, wantEndpoint(net, ep, in, n)...)
			if !defaults[ep.Namespace] { // the namespace's first endpoint leads outside
				w = append(w, topology.Route{Namespace: ep.Namespace, Gateway: net.Gateway, Device: ep.Interface})
			}
			defaults[ep.Namespace] = true
		}
	}
	return w
}

func networksOf(cfg *config.Config, d config.Datapath) []config.Network {
	var nets []config.Network
	for _, net := range cfg.Networks {
		if net.Datapath == d {
			nets = append(nets, net)
		}
	}
	return nets
}

func wantBridge(net config.Network) []reconcile.Resource {
	gateway := netip.PrefixFrom(net.Gateway, net.Subnets[0].Bits())
	return []reconcile.Resource{
		topology.Bridge{Name: net.Name, MTU: net.MTU, MAC: topology.MAC(net.GatewayMAC()), Network: net.Name},
		topology.Address{Device: net.Name, Prefix: gateway},
	}
}

func wantNetwork(net config.Network, in surroundings, n *numbers) reconcile.Resource {
	ports := portsOf(net, in)
	return &datapath.Network{
		Number:     n.network(net.Name),
		Name:       net.Name,
		Subnet:     net.Subnets[0],
		Gateway:    net.Gateway,
		GatewayMAC: topology.MAC(net.GatewayMAC()),
		MTU:        net.MTU,
		Masquerade: net.Masquerade,

		EndpointDependent: net.Translation.Mapping == config.EndpointDependent,
		OpenFilter:        net.Translation.Filtering == config.OpenFiltering,
		PortFirst:         ports.First,
		PortLast:          ports.Last,
		Exempt:            net.Translation.Exempt,
	}
}

// portsOf are the network's outside ports: none if it is not masqueraded.
func portsOf(net config.Network, in surroundings) config.PortRange {
	if !net.Masquerade {
		return config.PortRange{}
	}
	if net.Translation.Ports == (config.PortRange{}) {
		return in.ports
	}
	return net.Translation.Ports
}

func wantUplinks(nets []config.Network, in surroundings) []reconcile.Resource {
	var w []reconcile.Resource
	for _, up := range in.uplinks {
		w = append(w,
			wantUplink(up, nets, in),
			&datapath.Attachment{Device: up.Name, Point: loader.ToUplink, Hook: in.hook, Build: in.build},
			&datapath.Attachment{Device: up.Name, Point: loader.FromUplink, Hook: in.hook, Build: in.build},
		)
	}
	return w
}

// wantUplink sums up what the networks need of it.
func wantUplink(up topology.Uplink, nets []config.Network, in surroundings) *datapath.Uplink {
	u := &datapath.Uplink{Device: up.Name, Address: up.Address, MTU: up.MTU}
	for _, net := range nets {
		ports := portsOf(net, in)
		if !net.Masquerade {
			continue
		}
		if u.PortLast == 0 {
			u.PortFirst, u.PortLast = ports.First, ports.Last
		}
		u.PortFirst, u.PortLast = min(u.PortFirst, ports.First), max(u.PortLast, ports.Last)
		u.Tuples = u.Tuples || net.Translation.Mapping == config.EndpointDependent
		u.Ports = u.Ports || net.Translation.Filtering == config.OpenFiltering
	}
	return u
}

func wantMasquerade(cfg *config.Config, in surroundings) []reconcile.Resource {
	var t masquerade.Table
	for _, net := range networksOf(cfg, config.Kernel) {
		if net.Masquerade {
			t.Subnets = append(t.Subnets, masquerade.Subnet{Bridge: net.Name, Prefix: net.Subnets[0]})
		}
	}
	for _, up := range in.uplinks {
		t.Uplinks = append(t.Uplinks, up.Name)
	}
	if len(t.Subnets) == 0 || len(t.Uplinks) == 0 {
		return nil
	}
	return []reconcile.Resource{t}
}

// wantForwarding lets the host route between these interfaces, and no others.
func wantForwarding(cfg *config.Config, in surroundings) []reconcile.Resource {
	var w []reconcile.Resource
	forward := func(device string) {
		w = append(w, &topology.Sysctl{Key: fmt.Sprintf("net/ipv4/conf/%s/forwarding", device), Value: "1"})
	}
	for _, net := range cfg.Networks {
		forward(net.Name)
	}
	for _, up := range in.uplinks {
		forward(up.Name)
	}
	return w
}

func wantEndpoint(net config.Network, ep config.Endpoint, in surroundings, n *numbers) []reconcile.Resource {
	mac, addr := topology.MAC(ep.MAC), ep.Addresses[0]
	w := []reconcile.Resource{
		topology.Veth{Host: ep.HostInterface, Namespace: ep.Namespace, Interface: ep.Interface, MAC: mac, MTU: net.MTU, Bridge: net.Name},
		topology.FDB{Device: ep.HostInterface, MAC: mac},
		topology.Neighbour{Device: net.Name, Address: addr, MAC: mac},
	}
	if net.Datapath == config.EBPF {
		w = append(w,
			&datapath.Endpoint{
				Number:  n.endpoint(ep.HostInterface),
				Network: n.network(net.Name),
				Device:  ep.HostInterface,
				Address: addr,
				MAC:     mac,
				Limits:  wantLimits(net),
			},
			&datapath.Attachment{Device: ep.HostInterface, Point: loader.FromEndpoint, Hook: in.hook, Build: in.build},
		)
	}
	return append(w, topology.Address{
		Namespace: ep.Namespace, Device: ep.Interface, Prefix: netip.PrefixFrom(addr, net.Subnets[0].Bits()),
	})
}

func wantLimits(net config.Network) datapath.Limits {
	l := net.Translation.Limits
	return datapath.Limits{Sessions: uint32(l.Sessions), Mappings: uint32(l.Mappings), Rate: uint32(l.Rate), Burst: uint32(l.Burst),
		Broadcasts: uint32(net.Broadcasts)}
}
