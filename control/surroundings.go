// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"flyover/control/config"
	"flyover/control/topology"
	"flyover/loader"
)

const (
	firstUnprivilegedPort = 1024
	lastPort              = 65535
	// fewestPorts is where translating to one remote stops being of use.
	fewestPorts = 1024
)

// look finds what the wanted state depends on.
func look(cfg *config.Config, hook, version string) (surroundings, error) {
	in := surroundings{build: loader.Build(version)}
	ebpf := len(networksOf(cfg, config.EBPF)) > 0
	uplinks, err := findUplinks(cfg, ebpf)
	if err != nil {
		return in, err
	}
	in.uplinks = uplinks
	if err := apart(cfg, uplinks); err != nil {
		return in, err
	}
	if err := in.lookAtIPv6(cfg); err != nil {
		return in, err
	}
	if !ebpf {
		return in, nil
	}
	if in.hook, err = loader.ParseHook(hook); err != nil {
		return in, err
	}
	if err := loader.NewPins(loader.BPFFS).Fits(uint32(cfg.Sessions)); err != nil {
		return in, err
	}
	if in.local, err = localPorts(); err != nil {
		return in, err
	}
	if slices.ContainsFunc(cfg.Networks, needsPorts) {
		in.ports, err = outsidePorts(in.local)
	}
	return in, err
}

// lookAtIPv6 looks for what networks with IPv6 depend on.
func (in *surroundings) lookAtIPv6(cfg *config.Config) (err error) {
	i := slices.IndexFunc(cfg.Networks, config.Network.IPv6)
	if i < 0 {
		return nil
	}
	if !topology.HasIPv6() {
		return fmt.Errorf("make network %s: it has an IPv6 subnet, and this kernel no IPv6: boot it without ipv6.disable=1, "+
			"or remove the subnet", cfg.Networks[i].Name)
	}
	in.singly6 = topology.ForcesForwarding6()
	in.listeners, err = topology.Listeners()
	return err
}

// needsPorts tells whether the network's outside ports are for `up` to choose.
func needsPorts(n config.Network) bool {
	return n.Datapath == config.EBPF && n.Masquerade && n.Translation.Ports == (config.PortRange{})
}

// apart refuses networks that have addresses in common with an uplink: neither could tell what is inside (RFC 4787 REQ-7). A part of the
// uplink's IPv6 subnet may be a network that is not translated, and that the host answers for.
func apart(cfg *config.Config, uplinks []topology.Uplink) error {
	for _, up := range uplinks {
		addrs, err := topology.Addresses(up.Name)
		if err != nil {
			return err
		}
		routers, err := topology.Routers6(up.Name)
		if err != nil {
			return err
		}
		for _, net := range cfg.Networks {
			for _, subnet := range net.Subnets {
				if what := inCommon(subnet, net.NDProxy, addrs, routers); what != "" {
					return fmt.Errorf("use uplink %s: its %s and network %s (%s) overlap: give the network another subnet, or, with masquerade: false "+
						"and nd-proxy: true, a part of its IPv6 subnet that has neither the host's address nor a router's", up.Name, what, net.Name, subnet)
				}
			}
		}
	}
	return nil
}

// inCommon says what of an uplink a subnet overlaps, nothing if it may.
func inCommon(subnet netip.Prefix, proxied bool, addrs []netip.Prefix, routers []netip.Addr) string {
	for _, addr := range addrs {
		part := proxied && subnet.Addr().Is6() && subnet.Bits() > addr.Bits() && !subnet.Contains(addr.Addr())
		if subnet.Overlaps(addr.Masked()) && !part {
			return "address " + addr.String()
		}
	}
	if i := slices.IndexFunc(routers, subnet.Contains); i >= 0 {
		return "router " + routers[i].String()
	}
	return ""
}

// findUplinks returns the configured uplinks, or those of the default routes of the networks' families. The datapath needs to know
// more of them than their names, which the kernel's masquerade is content with.
func findUplinks(cfg *config.Config, ebpf bool) ([]topology.Uplink, error) {
	names, names6, err := uplinkNames(cfg)
	if err != nil {
		return nil, err
	}
	find := findInterface
	if ebpf {
		find = topology.FindUplink
	}
	needs4 := slices.ContainsFunc(networksOf(cfg, config.EBPF), config.Network.IPv4)
	var uplinks []topology.Uplink
	var errs []error
	for i, name := range slices.Concat(names, names6) {
		up, err := find(name)
		if err == nil && needs4 && i < len(names) && !up.Address.IsValid() {
			err = fmt.Errorf("find address of uplink %s: no global IPv4 address", name)
		}
		uplinks = append(uplinks, up)
		errs = append(errs, err)
	}
	return uplinks, errors.Join(errs...)
}

// findInterface is topology.FindUplink for whom the name is enough.
func findInterface(name string) (topology.Uplink, error) {
	if _, err := net.InterfaceByName(name); err != nil {
		return topology.Uplink{}, fmt.Errorf("look up uplink %s: %w", name, err)
	}
	return topology.Uplink{Name: name}, nil
}

// uplinkNames are the uplinks' names, and apart from them those of interfaces that lead outside for IPv6 alone.
func uplinkNames(cfg *config.Config) (names, names6 []string, err error) {
	if len(cfg.Uplinks) > 0 {
		return cfg.Uplinks, nil, nil
	}
	if slices.ContainsFunc(cfg.Networks, config.Network.IPv4) {
		if names, err = topology.DefaultRouteInterfaces(false); err != nil {
			return nil, nil, err
		}
	}
	if slices.ContainsFunc(cfg.Networks, config.Network.IPv6) {
		if names6, err = topology.DefaultRouteInterfaces(true); err != nil {
			return nil, nil, err
		}
	}
	names6 = slices.DeleteFunc(names6, func(name string) bool { return slices.Contains(names, name) })
	return names, names6, nil
}

// localPorts are the ports that the kernel gives to the host's own sockets.
func localPorts() (config.PortRange, error) {
	const key = "/proc/sys/net/ipv4/ip_local_port_range"
	var local config.PortRange
	text, err := os.ReadFile(key)
	if err != nil {
		return local, fmt.Errorf("read local port range: %w", err)
	}
	if _, err := fmt.Sscan(string(text), &local.First, &local.Last); err != nil {
		return local, fmt.Errorf("read local port range %q: %w", text, err)
	}
	return local, nil
}

// outsidePorts returns the larger part of the ports beside the local ones, so that a connection of the host never finds its port
// taken by a session.
func outsidePorts(local config.PortRange) (config.PortRange, error) {
	below, above := int(local.First)-firstUnprivilegedPort, lastPort-int(local.Last)
	if max(below, above) < fewestPorts {
		return config.PortRange{}, fmt.Errorf("choose outside ports: net.ipv4.ip_local_port_range (%d %d) leaves fewer than %d ports "+
			"beside it: narrow it, or set \"ports:\" of each network", local.First, local.Last, fewestPorts)
	}
	if below >= above {
		return config.PortRange{First: firstUnprivilegedPort, Last: local.First - 1}, nil
	}
	return config.PortRange{First: local.Last + 1, Last: lastPort}, nil
}
