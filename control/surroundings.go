// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"net"
	"os"

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
	if !ebpf {
		return in, nil
	}
	if in.hook, err = loader.ParseHook(hook); err != nil {
		return in, err
	}
	in.local, in.ports, err = outsidePorts()
	return in, err
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

// outsidePorts returns the larger part of the ports beside those that the kernel gives to the host's own sockets, so that a
// connection of the host never finds its port taken by a session.
func outsidePorts() (local, ports config.PortRange, err error) {
	const key = "/proc/sys/net/ipv4/ip_local_port_range"
	text, err := os.ReadFile(key)
	if err != nil {
		return local, ports, fmt.Errorf("read local port range: %w", err)
	}
	var low, high int
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		return local, ports, fmt.Errorf("read local port range %q: %w", text, err)
	}
	local = config.PortRange{First: uint16(low), Last: uint16(high)}
	below, above := low-firstUnprivilegedPort, lastPort-high
	if max(below, above) < fewestPorts {
		return local, ports, fmt.Errorf("choose outside ports: net.ipv4.ip_local_port_range (%d %d) leaves fewer than %d ports beside it: narrow it", low, high, fewestPorts)
	}
	if below >= above {
		return local, config.PortRange{First: firstUnprivilegedPort, Last: local.First - 1}, nil
	}
	return local, config.PortRange{First: local.Last + 1, Last: lastPort}, nil
}
