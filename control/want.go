// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"net/netip"
	"slices"

	"flyover/control/config"
	"flyover/control/datapath"
	"flyover/control/netfilter"
	"flyover/control/reconcile"
	"flyover/control/topology"
	"flyover/loader"
)

// surroundings are what the wanted state depends on besides the configuration.
type surroundings struct {
	uplinks []topology.Uplink
	// singly6 says that the kernel can forward IPv6 of single interfaces.
	singly6 bool
	// listeners are interfaces that router advertisements configure.
	listeners []string
	hook      loader.Hook
	build     string
	// ports are the outside ports of networks that name none: none that the kernel gives to the host's own sockets.
	ports config.PortRange
	// local are the ports that the kernel gives to the host's own sockets.
	local   config.PortRange
	bridges bridges
}

// want lists every object that the configuration asks for, in the order in which they can be made. Whatever guards the uplinks
// comes before whatever lets packets reach them.
func want(cfg *config.Config, in surroundings, n *numbers) []reconcile.Resource {
	var w []reconcile.Resource
	ebpf := networksOf(cfg, config.EBPF)
	if len(ebpf) > 0 {
		w = append(w, &datapath.BPFFS{}, &datapath.Programs{Build: in.build, Sessions: uint32(cfg.Sessions)})
	}
	places := map[string][]int{}
	for _, net := range cfg.Networks {
		places[net.Name] = in.bridges.place(net)
		w = append(w, wantBridge(net)...)
		w = append(w, wantShards(net, places[net.Name])...)
	}
	for _, net := range ebpf {
		w = append(w, wantNetwork(net, in, n))
	}
	if len(ebpf) > 0 {
		w = append(w, wantUplinks(ebpf, in)...)
	}
	w = append(w, wantIsolation(cfg)...)
	w = append(w, wantMasquerade(cfg, in)...)
	w = append(w, wantForwarding(cfg, in)...)
	made := map[string]bool{}
	once := func(r reconcile.Resource) {
		if name := reconcile.Name(r); !made[name] {
			made[name] = true
			w = append(w, r)
		}
	}
	for _, net := range cfg.Networks {
		for i, ep := range net.Endpoints {
			once(topology.Namespace{Name: ep.Namespace})
			w = append(w, wantPort(net, ep, places[net.Name][i])...)
			w = append(w, wantEndpoint(net, ep, in, n)...)
			for _, gateway := range net.Gateways { // the namespace's first endpoint of the family leads outside
				once(topology.Route{Namespace: ep.Namespace, Gateway: gateway, Device: ep.Interface})
			}
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
	w := []reconcile.Resource{
		topology.Bridge{Name: net.Name, MTU: net.MTU, MAC: topology.MAC(net.GatewayMAC()), Network: net.Name},
	}
	return append(w, wantAddresses(net, "", net.Name, net.Gateways)...)
}

// wantAddresses are the addresses of one of the network's devices, and before them that it takes no others.
func wantAddresses(net config.Network, namespace, device string, addrs []netip.Addr) []reconcile.Resource {
	var w []reconcile.Resource
	if net.IPv6() {
		w = append(w, topology.Static6{Namespace: namespace, Device: device})
	}
	for _, addr := range addrs {
		w = append(w, topology.Address{Namespace: namespace, Device: device, Prefix: net.InSubnet(addr)})
	}
	return w
}

func wantNetwork(net config.Network, in surroundings, n *numbers) reconcile.Resource {
	ports := portsOf(net, in)
	subnet, subnet6 := byFamily(net.Subnets, netip.Prefix.Addr)
	gateway, gateway6 := byFamily(net.Gateways, netip.Addr.Unmap)
	return &datapath.Network{
		Number:     n.network(net.Name),
		Name:       net.Name,
		Subnet:     subnet,
		Subnet6:    subnet6,
		Gateway:    gateway,
		Gateway6:   gateway6,
		GatewayMAC: topology.MAC(net.GatewayMAC()),
		MTU:        net.MTU,
		Masquerade: net.Masquerade,
		Isolated:   net.Isolation,

		EndpointDependent: net.Translation.Mapping == config.EndpointDependent,
		OpenFilter:        net.Translation.Filtering == config.OpenFiltering,
		PortFirst:         ports.First,
		PortLast:          ports.Last,
		Exempt:            net.Translation.Exempt,
		Unguarded:         net.Unguarded(),
	}
}

// byFamily takes apart what has at most one of each address family.
func byFamily[T any](all []T, addr func(T) netip.Addr) (four, six T) {
	for _, a := range all {
		if addr(a).Is6() {
			six = a
		} else {
			four = a
		}
	}
	return four, six
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
	u := &datapath.Uplink{Device: up.Name, MTU: up.MTU}
	for _, net := range nets {
		if net.IPv4() {
			u.Address = up.Address
		}
		if net.IPv6() {
			u.Address6 = up.Address6
		}
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
	var uplinks []string
	for _, up := range in.uplinks {
		uplinks = append(uplinks, up.Name)
	}
	var w []reconcile.Resource
	for _, ipv6 := range []bool{false, true} {
		t := netfilter.Masquerade{IPv6: ipv6, Uplinks: uplinks}
		for _, net := range networksOf(cfg, config.Kernel) {
			for _, subnet := range net.Subnets {
				if net.Masquerade && subnet.Addr().Is6() == ipv6 {
					t.Subnets = append(t.Subnets, netfilter.Subnet{Bridge: net.Name, Prefix: subnet})
				}
			}
		}
		if len(t.Subnets) > 0 && len(uplinks) > 0 {
			w = append(w, t)
		}
	}
	return w
}

// wantIsolation is for networks of the kernel datapath: between those of the other one, the programs see to it.
func wantIsolation(cfg *config.Config) []reconcile.Resource {
	var i netfilter.Isolation
	for _, net := range cfg.Networks {
		i.Networks = append(i.Networks, net.Name)
		if net.Isolation {
			i.Isolated = append(i.Isolated, net.Name)
		}
	}
	if len(networksOf(cfg, config.Kernel)) == 0 || len(i.Networks) < 2 || len(i.Isolated) == 0 {
		return nil
	}
	return []reconcile.Resource{i}
}

// wantForwarding lets the host route between these interfaces, and no others if the kernel can do so.
func wantForwarding(cfg *config.Config, in surroundings) []reconcile.Resource {
	var w []reconcile.Resource
	set := func(key, value string, devices []string) {
		for _, device := range devices {
			w = append(w, &topology.Sysctl{Key: fmt.Sprintf(key, device), Value: value})
		}
	}
	// An interface that forwards stops listening to the routers that gave it addresses and routes, unless it is told to go on.
	const listen = "net/ipv6/conf/%s/accept_ra"
	set("net/ipv4/conf/%s/forwarding", "1", forwarders(cfg, in, config.Network.IPv4))
	devices := forwarders(cfg, in, config.Network.IPv6)
	// The route of what a bridge brings is asked for by the programs, and told only if that forwards, whatever else does. And a gateway that
	// does not says in its neighbour advertisements that it is no router.
	for _, net := range cfg.Networks {
		if net.IPv6() {
			set("net/ipv6/conf/%s/forwarding", "1", []string{net.Name})
		}
	}
	proxies := proxiesOf(cfg, in)
	set("net/ipv6/conf/%s/proxy_ndp", "1", proxies)
	if in.singly6 || len(devices) == 0 {
		set("net/ipv6/conf/%s/force_forwarding", "1", devices)
		for _, device := range proxies { // which have to forward by this very setting
			if slices.Contains(in.listeners, device) {
				set(listen, "2", []string{device})
			}
			set("net/ipv6/conf/%s/forwarding", "1", []string{device})
		}
		return w
	}
	set(listen, "2", in.listeners)
	return append(w, &topology.Forwarding6{})
}

// proxiesOf are the uplinks if the host answers there for endpoints.
func proxiesOf(cfg *config.Config, in surroundings) []string {
	var devices []string
	if slices.ContainsFunc(cfg.Networks, func(n config.Network) bool { return n.NDProxy }) {
		for _, up := range in.uplinks {
			devices = append(devices, up.Name)
		}
	}
	return devices
}

// forwarders are the bridges of networks that have the family, and the uplinks if there are any.
func forwarders(cfg *config.Config, in surroundings, has func(config.Network) bool) []string {
	var devices []string
	for _, net := range cfg.Networks {
		if has(net) {
			devices = append(devices, net.Name)
		}
	}
	if len(devices) == 0 {
		return nil
	}
	for _, up := range in.uplinks {
		devices = append(devices, up.Name)
	}
	return devices
}

func wantEndpoint(net config.Network, ep config.Endpoint, in surroundings, n *numbers) []reconcile.Resource {
	mac := topology.MAC(ep.MAC)
	var w []reconcile.Resource
	for _, addr := range ep.Addresses {
		w = append(w, topology.Neighbour{Device: net.Name, Address: addr, MAC: mac})
	}
	if net.Datapath == config.EBPF {
		addr, addr6 := byFamily(ep.Addresses, netip.Addr.Unmap)
		w = append(w,
			&datapath.Endpoint{
				Number:  n.endpoint(ep.HostInterface),
				Network: n.network(net.Name),
				Device:  ep.HostInterface,
				Address: addr, Address6: addr6,
				MAC:       mac,
				Limits:    wantLimits(net),
				Unguarded: ep.Unguarded,
			},
			&datapath.Attachment{Device: ep.HostInterface, Point: loader.FromEndpoint, Hook: in.hook, Build: in.build},
		)
	}
	if net.NDProxy {
		_, addr6 := byFamily(ep.Addresses, netip.Addr.Unmap)
		for _, up := range in.uplinks {
			w = append(w, topology.Proxy6{Device: up.Name, Address: addr6})
		}
	}
	return append(w, wantAddresses(net, ep.Namespace, ep.Interface, ep.Addresses)...)
}

func wantLimits(net config.Network) datapath.Limits {
	l := net.Translation.Limits
	return datapath.Limits{Sessions: uint32(l.Sessions), Mappings: uint32(l.Mappings), Rate: uint32(l.Rate), Burst: uint32(l.Burst),
		Broadcasts: uint32(net.Broadcasts)}
}
