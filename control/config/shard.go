// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net"
	"regexp"
)

const (
	// maxBridgePorts are the ports of a Linux bridge.
	maxBridgePorts = 1023
	// BridgeEndpoints is how many endpoints of a network are ports of one bridge; the rest of its ports is for trunks.
	BridgeEndpoints = 1000
	// longestSharded is the length of a network's name that leaves room for what is added in the names of Shard.
	longestSharded = maxInterfaceName - len("+16d")
)

// Shard is a further bridge of a network that has more endpoints than one bridge has ports. It is joined to the network's own by a
// trunk, a pair of interfaces.
type Shard struct {
	// Bridge is the device's name: "br1+1".
	Bridge string
	// Down and Up are the trunk's ends, at the network's own bridge and at this one: "br1+1d", "br1+1u".
	Down, Up string
	// MAC of the bridge device, stable.
	MAC net.HardwareAddr
}

// Shard is the network's n-th further bridge, from 1.
func (n Network) Shard(number int) Shard {
	bridge := fmt.Sprintf("%s+%d", n.Name, number)
	return Shard{Bridge: bridge, Down: bridge + "d", Up: bridge + "u", MAC: stableMAC(bridge)}
}

// shardName matches the names that Shard makes, the network's first.
var shardName = regexp.MustCompile(`^(.+)\+[1-9][0-9]*[du]?$`)

// notShards refuses a name that is kept for a further bridge of one of the networks.
func (v *validator) notShards(name located[string], label string) {
	match := shardName.FindStringSubmatch(name.value)
	if match == nil {
		return
	}
	if network, found := v.networks[match[1]]; found {
		v.add(name.at, "name %s of %s is kept for a further bridge of %s at line %d, or what joins it; choose another",
			name.value, label, network.owner, network.line)
	}
}

// sharded refuses a network with more endpoints than its bridges can have. Those of the kernel's datapath have one: of what two of its
// bridges forward one after the other, its connection tracking may have a look at the first and not masquerade at the second.
func (v *validator) sharded(n Network, draft networkDraft, label string) {
	endpoints := draft.endpoints.value
	switch {
	case n.Datapath == Kernel && len(endpoints) > maxBridgePorts:
		v.add(endpoints[maxBridgePorts].at, "%s has more than %d endpoints, the limit of a Linux bridge; "+
			"divide them between networks, or use \"datapath: ebpf\"", label, maxBridgePorts)
	case n.Datapath == EBPF && len(endpoints) > BridgeEndpoints && len(n.Name) > longestSharded:
		v.add(draft.name.at, "%s has more than %d endpoints and so several bridges, whose names begin with its own; "+
			"give it a name of at most %d bytes", label, BridgeEndpoints, longestSharded)
	}
}
