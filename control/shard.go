// SPDX-License-Identifier: Apache-2.0

package control

import (
	"slices"
	"strconv"
	"strings"

	"flyover/control/config"
	"flyover/control/reconcile"
	"flyover/control/topology"
)

// bridges are what endpoints are ports of.
type bridges struct {
	// most endpoints of one bridge; 0 is config.BridgeEndpoints.
	most int
	// of is the bridge by the host's end of an endpoint's pair, as far as it is ours already.
	of map[string]string
}

func bridgesOf(owned []reconcile.Resource, most int) bridges {
	b := bridges{most: most, of: map[string]string{}}
	for _, r := range owned {
		if v, ok := r.(topology.Veth); ok {
			b.of[v.Host] = v.Bridge
		}
	}
	return b
}

// place gives each of the network's endpoints the number of a bridge: 0 is the network's own, the others its shards. An endpoint stays
// where it is, as long as that takes it; others go to the first bridge that has room. The kernel's datapath has the network's own alone.
func (b bridges) place(net config.Network) []int {
	most := b.most
	if most == 0 {
		most = config.BridgeEndpoints
	}
	places := make([]int, len(net.Endpoints))
	if net.Datapath == config.Kernel {
		return places
	}
	taken := map[int]int{}
	var others []int
	for i, ep := range net.Endpoints {
		number, known := numberOf(net.Name, b.of[ep.HostInterface])
		if !known || taken[number] == most {
			others = append(others, i)
			continue
		}
		places[i] = number
		taken[number]++
	}
	number := 0
	for _, i := range others {
		for taken[number] == most {
			number++
		}
		places[i] = number
		taken[number]++
	}
	return places
}

// numberOf is the number of the network's bridge of that name; false if it is not the network's.
func numberOf(network, bridge string) (int, bool) {
	if bridge == network {
		return 0, true
	}
	text, found := strings.CutPrefix(bridge, network+"+")
	number, err := strconv.Atoi(text)
	return number, found && err == nil && number > 0
}

// wantShards are those that endpoints are ports of.
func wantShards(net config.Network, places []int) []reconcile.Resource {
	var w []reconcile.Resource
	for _, number := range slices.Compact(slices.Sorted(slices.Values(places))) {
		if number > 0 {
			w = append(w, wantShard(net, net.Shard(number))...)
		}
	}
	return w
}

// wantShard is a further bridge, and the trunk to it. Behind the trunk is the gateway, and what the bridge does not know.
func wantShard(net config.Network, shard config.Shard) []reconcile.Resource {
	return []reconcile.Resource{
		topology.Bridge{Name: shard.Bridge, MTU: net.MTU, MAC: topology.MAC(shard.MAC), Network: net.Name, Shard: true},
		topology.Trunk{
			Down: shard.Down, Up: shard.Up, Network: net.Name, Shard: shard.Bridge, MTU: net.MTU,
			MAC: topology.MAC(net.GatewayMAC()), Stations: net.Unguarded(),
		},
		topology.FDB{Device: shard.Up, MAC: topology.MAC(net.GatewayMAC())},
	}
}

// wantPort is an endpoint's pair as a port of the numbered bridge, and how frames get there from the network's other bridges. A shard
// sends nothing to a port that is not meant for it: what it does not know is beyond the trunk, or with the stations behind an endpoint.
func wantPort(net config.Network, ep config.Endpoint, number int) []reconcile.Resource {
	mac := topology.MAC(ep.MAC)
	veth := topology.Veth{
		Host: ep.HostInterface, Namespace: ep.Namespace, Interface: ep.Interface, MAC: mac, MTU: net.MTU, Bridge: net.Name,
		Learning: ep.Unguarded,
	}
	if number == 0 {
		return []reconcile.Resource{veth, topology.FDB{Device: ep.HostInterface, MAC: mac}}
	}
	shard := net.Shard(number)
	veth.Bridge, veth.NoFlood = shard.Bridge, !ep.Unguarded
	return []reconcile.Resource{
		veth, topology.FDB{Device: ep.HostInterface, MAC: mac}, topology.FDB{Device: shard.Down, MAC: mac},
	}
}
