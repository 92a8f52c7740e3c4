// SPDX-License-Identifier: Apache-2.0

package control

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/control/config"
	"flyover/control/reconcile"
	"flyover/control/topology"
)

const shardedObjects = `bridge br1
address br1 192.168.15.10/24
bridge br1+1
trunk br1+1d
fdb br1+1u 02:26:57:8a:32:80
bridge br1+3
trunk br1+3d
fdb br1+3u 02:26:57:8a:32:80
veth a
fdb a 02:0d:04:88:74:a5
veth b
fdb b 02:24:e9:2b:a3:ab
fdb br1+3d 02:24:e9:2b:a3:ab
veth c
fdb c 02:84:e6:0e:c2:cb
fdb br1+1d 02:84:e6:0e:c2:cb
`

// Endpoints beyond what the network's bridge takes are ports of further ones, which are joined to it.
func TestWantShards(t *testing.T) {
	cfg := parse(t, `networks:
  - {name: br1, subnets: [192.168.15.0/24], gateway: 192.168.15.10, endpoints: [
     {namespace: ns1, host_interface: a, addresses: [192.168.15.1]},
     {namespace: ns2, host_interface: b, addresses: [192.168.15.2]},
     {namespace: ns3, host_interface: c, addresses: [192.168.15.3]}]}
`)
	in := place
	in.bridges = bridgesOf([]reconcile.Resource{topology.Veth{Host: "b", Bridge: "br1+3"}}, 1)
	var have []reconcile.Resource
	for _, r := range want(cfg, in, numbersOf(nil)) {
		switch r := r.(type) {
		case topology.Bridge, topology.Trunk, topology.FDB:
			have = append(have, r)
		case topology.Veth:
			have = append(have, r)
			if sharded := r.Host != "a"; r.NoFlood != sharded {
				t.Errorf("port %s of %s: no flood is %v", r.Host, r.Bridge, r.NoFlood)
			}
		case topology.Address:
			if r.Namespace == "" {
				have = append(have, r)
			}
		}
	}
	if diff := cmp.Diff(shardedObjects, names(have)); diff != "" {
		t.Error(diff)
	}
	var s Status
	owned := want(cfg, in, numbersOf(nil))
	s.describe(owned)
	if len(s.Networks) != 1 || len(s.Networks[0].Endpoints) != 3 {
		t.Errorf("status describes %+v", s.Networks)
	}
	if diff := cmp.Diff([]string{
		"namespace ns2", "veth b", "fdb b MAC", "fdb br1+3d MAC", "neighbour br1 192.168.15.2", "endpoint b",
		"attachment b from_endpoint tcx", "address ns2 veth-ns2 192.168.15.2/24", "route ns2 default",
	}, withoutMAC(s.only("ns2", owned))); diff != "" {
		t.Error(diff)
	}
}

// An endpoint stays on its bridge, unless that takes fewer than it has; a new one takes the first free place.
func TestPlace(t *testing.T) {
	net := config.Network{Name: "n", Datapath: config.EBPF}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		net.Endpoints = append(net.Endpoints, config.Endpoint{HostInterface: name})
	}
	kernel := net
	kernel.Datapath = config.Kernel
	owned := func(at map[string]string) (resources []reconcile.Resource) {
		for host, bridge := range at {
			resources = append(resources, topology.Veth{Host: host, Bridge: bridge})
		}
		return resources
	}
	for name, test := range map[string]struct {
		net   config.Network
		owned map[string]string
		most  int
		want  []int
	}{
		"new":              {net, nil, 2, []int{0, 0, 1, 1, 2, 2}},
		"enough room":      {net, nil, 0, []int{0, 0, 0, 0, 0, 0}},
		"kernel":           {kernel, map[string]string{"c": "n+1"}, 2, []int{0, 0, 0, 0, 0, 0}},
		"stays":            {net, map[string]string{"a": "n+2", "b": "n", "f": "n+1"}, 2, []int{2, 0, 0, 1, 2, 1}},
		"too many":         {net, map[string]string{"a": "n", "b": "n", "c": "n"}, 2, []int{0, 0, 1, 1, 2, 2}},
		"another's bridge": {net, map[string]string{"a": "m", "b": "n+x", "c": "n+0", "d": "n+-1"}, 6, []int{0, 0, 0, 0, 0, 0}},
	} {
		if diff := cmp.Diff(test.want, bridgesOf(owned(test.owned), test.most).place(test.net)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}
