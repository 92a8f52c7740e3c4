// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"net"
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

// needsPorts tells whether the network's outside ports are for `up` to choose.
func needsPorts(n config.Network) bool {
	return n.Datapath == config.EBPF && n.Masquerade && n.Translation.Ports == (config.PortRange{})
}

// apart refuses networks that have addresses in common with an uplink: neither could tell what is inside (RFC 4787 REQ-7).
func apart(cfg *config.Config, uplinks []topology.Uplink) error {
	for _, up := range uplinks {
		addrs, err := topology.Addresses(up.Name)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			for _, net := range cfg.Networks {
				if net.Subnets[0].Overlaps(addr.Masked()) {
					return fmt.Errorf("use uplink %s: its address %s and network %s (%s) overlap: give the network another subnet",
						up.Name, addr, net.Name, net.Subnets[0])
				}
			}
		}
	}
	return nil
}

// findUplinks returns the configured uplinks, or those of the default routes. The datapath needs to know more of them than their
// names, which the kernel's masquerade is content with.
func findUplinks(cfg *config.Config, ebpf bool) ([]topology.Uplink, error) {
	names := cfg.Uplinks
	if len(names) == 0 {
		var err error
		if names, err = topology.DefaultRouteInterfaces(); err != nil {
			return nil, err
		}
	}
	var uplinks []topology.Uplink
	var errs []error
	for _, name := range names {
		up := topology.Uplink{Name: name}
		var err error
		if ebpf {
			up, err = topology.FindUplink(name)
		} else if _, lookup := net.InterfaceByName(name); lookup != nil {
			err = fmt.Errorf("look up uplink %s: %w", name, lookup)
		}
		uplinks = append(uplinks, up)
		errs = append(errs, err)
	}
	return uplinks, errors.Join(errs...)
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
