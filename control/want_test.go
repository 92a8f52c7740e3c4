// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/control/config"
	"flyover/control/datapath"
	"flyover/control/reconcile"
	"flyover/control/topology"
	"flyover/loader"
)

// place is a host with one uplink.
var place = surroundings{
	uplinks: []topology.Uplink{{Name: "eth0", MTU: 1500, Address: netip.MustParseAddr("203.0.113.2")}},
	hook:    loader.TCX,
	build:   "b",
	ports:   config.PortRange{First: 1024, Last: 32767},
	local:   config.PortRange{First: 32768, Last: 60999},
}

func names(resources []reconcile.Resource) string {
	var b strings.Builder
	for _, r := range resources {
		b.WriteString(reconcile.Name(r) + "\n")
	}
	return b.String()
}

func parse(t *testing.T, yaml string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

const ebpfObjects = `bpffs /sys/fs/bpf
programs /sys/fs/bpf/flyover/v4
bridge br1
address br1 192.168.15.10/24
network br1
uplink eth0
attachment eth0 to_uplink tcx
attachment eth0 from_uplink tcx
sysctl net/ipv4/conf/br1/forwarding
sysctl net/ipv4/conf/eth0/forwarding
namespace ns1
veth veth-ns1-br
fdb veth-ns1-br 02:0d:04:88:74:a5
neighbour br1 192.168.15.1
endpoint veth-ns1-br
attachment veth-ns1-br from_endpoint tcx
address ns1 veth-ns1 192.168.15.1/24
route ns1 default
namespace ns2
veth veth-ns2-br
fdb veth-ns2-br 02:24:e9:2b:a3:ab
neighbour br1 192.168.15.2
endpoint veth-ns2-br
attachment veth-ns2-br from_endpoint tcx
address ns2 veth-ns2 192.168.15.2/24
route ns2 default
`

const kernelObjects = `bridge br1
address br1 192.168.15.10/24
masquerade flyover
sysctl net/ipv4/conf/br1/forwarding
sysctl net/ipv4/conf/eth0/forwarding
namespace ns1
veth veth-ns1-br
fdb veth-ns1-br 02:0d:04:88:74:a5
neighbour br1 192.168.15.1
address ns1 veth-ns1 192.168.15.1/24
route ns1 default
`

const dualObjects = `bridge br1
static6 br1
address br1 192.168.15.10/24
address br1 fd00:15::10/64
masquerade flyover
masquerade ip6 flyover
sysctl net/ipv4/conf/br1/forwarding
sysctl net/ipv4/conf/eth0/forwarding
sysctl net/ipv6/conf/br1/forwarding
sysctl net/ipv6/conf/br1/force_forwarding
sysctl net/ipv6/conf/eth0/force_forwarding
namespace ns1
veth veth-ns1-br
fdb veth-ns1-br 02:0d:04:88:74:a5
neighbour br1 192.168.15.1
neighbour br1 fd00:15::1
static6 ns1 veth-ns1
address ns1 veth-ns1 192.168.15.1/24
address ns1 veth-ns1 fd00:15::1/64
route ns1 default
route ns1 default6
`

const ipv6Objects = `bridge br1
static6 br1
address br1 fd00:15::10/64
masquerade ip6 flyover
sysctl net/ipv6/conf/br1/forwarding
sysctl net/ipv6/conf/eth0/accept_ra
sysctl net/ipv6/conf/wlan0/accept_ra
forwarding6 all
namespace ns1
veth veth-ns1-br
fdb veth-ns1-br 02:40:7b:ca:29:70
neighbour br1 fd00:15::1
static6 ns1 veth-ns1
address ns1 veth-ns1 fd00:15::1/64
route ns1 default6
`

func TestWant(t *testing.T) {
	defaults, err := config.Default()
	if err != nil {
		t.Fatal(err)
	}
	kernel := parse(t, `networks:
  - {name: br1, subnets: [192.168.15.0/24], gateway: 192.168.15.10, datapath: kernel,
     endpoints: [{namespace: ns1, addresses: [192.168.15.1]}]}
`)
	dual := parse(t, `networks:
  - {name: br1, subnets: [192.168.15.0/24, fd00:15::/64], gateway: [192.168.15.10, fd00:15::10], datapath: kernel,
     endpoints: [{namespace: ns1, addresses: [192.168.15.1, fd00:15::1]}]}
`)
	ipv6 := parse(t, `networks:
  - {name: br1, subnets: [fd00:15::/64], gateway: fd00:15::10, datapath: kernel,
     endpoints: [{namespace: ns1, addresses: [fd00:15::1]}]}
`)
	singly, old := place, place
	singly.singly6, old.listeners = true, []string{"eth0", "wlan0"}
	for name, test := range map[string]struct {
		cfg  *config.Config
		in   surroundings
		want string
	}{
		"the tutorial's":      {defaults, place, ebpfObjects},
		"kernel":              {kernel, place, kernelObjects},
		"dual stack":          {dual, singly, dualObjects},
		"IPv6, older kernels": {ipv6, old, ipv6Objects},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, names(want(test.cfg, test.in, numbersOf(nil)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A namespace on two networks is made once, and the first network of each family leads outside.
func TestWantGivesANamespaceOneDefaultRoute(t *testing.T) {
	cfg := parse(t, `networks:
  - {name: a, subnets: [10.0.1.0/24], gateway: 10.0.1.254, endpoints: [{namespace: ns, interface: eth0, addresses: [10.0.1.1]}]}
  - {name: b, subnets: [10.0.2.0/24, fd00:2::/64], gateway: [10.0.2.254, fd00:2::254], datapath: kernel,
     endpoints: [{namespace: ns, interface: eth1, addresses: [10.0.2.1, fd00:2::1]}]}
  - {name: c, subnets: [fd00:3::/64], gateway: fd00:3::254, datapath: kernel,
     endpoints: [{namespace: ns, interface: eth2, addresses: [fd00:3::1]}]}
`)
	var have []reconcile.Resource
	for _, r := range want(cfg, place, numbersOf(nil)) {
		switch r.(type) {
		case topology.Namespace, topology.Route:
			have = append(have, r)
		}
	}
	expected := []reconcile.Resource{
		topology.Namespace{Name: "ns"},
		topology.Route{Namespace: "ns", Gateway: netip.MustParseAddr("10.0.1.254"), Device: "eth0"},
		topology.Route{Namespace: "ns", Gateway: netip.MustParseAddr("fd00:2::254"), Device: "eth1"},
	}
	if diff := cmp.Diff(expected, have, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// Where the host answers for endpoints at an uplink, that forwards by the setting that neighbour discovery asks for, and goes on listening to routers.
func TestWantNDProxy(t *testing.T) {
	cfg := parse(t, `networks:
  - {name: br1, subnets: [2001:db8:15::/64], gateway: 2001:db8:15::10, masquerade: false, nd-proxy: true, datapath: kernel, endpoints: [
     {namespace: x, addresses: [2001:db8:15::1]}, {namespace: y, addresses: [2001:db8:15::2]}]}
`)
	singly, old := place, place
	singly.singly6, singly.listeners, old.listeners = true, []string{"eth0", "wlan0"}, []string{"eth0"}
	for name, test := range map[string]struct {
		in   surroundings
		want string
	}{
		"singly": {singly, `sysctl net/ipv6/conf/br1/forwarding
sysctl net/ipv6/conf/eth0/proxy_ndp
sysctl net/ipv6/conf/br1/force_forwarding
sysctl net/ipv6/conf/eth0/force_forwarding
sysctl net/ipv6/conf/eth0/accept_ra
sysctl net/ipv6/conf/eth0/forwarding
proxy6 eth0 2001:db8:15::1
proxy6 eth0 2001:db8:15::2
`},
		"older kernels": {old, `sysctl net/ipv6/conf/br1/forwarding
sysctl net/ipv6/conf/eth0/proxy_ndp
sysctl net/ipv6/conf/eth0/accept_ra
proxy6 eth0 2001:db8:15::1
proxy6 eth0 2001:db8:15::2
`},
	} {
		var have []reconcile.Resource
		for _, r := range want(cfg, test.in, numbersOf(nil)) {
			switch r.(type) {
			case *topology.Sysctl, topology.Proxy6:
				have = append(have, r)
			}
		}
		if diff := cmp.Diff(test.want, names(have)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// Only the endpoint without source guard, and its network, are told so.
func TestWantUnguarded(t *testing.T) {
	cfg := parse(t, `networks:
  - {name: a, subnets: [10.0.1.0/24], gateway: 10.0.1.254, endpoints: [
     {namespace: x, addresses: [10.0.1.1]}, {namespace: y, addresses: [10.0.1.2], source-guard: false}]}
  - {name: b, subnets: [10.0.2.0/24], gateway: 10.0.2.254, endpoints: [{namespace: z, addresses: [10.0.2.1]}]}
`)
	var have []string
	for _, r := range want(cfg, place, numbersOf(nil)) {
		switch r := r.(type) {
		case topology.Veth:
			if r.Learning {
				have = append(have, reconcile.Name(r))
			}
		case *datapath.Endpoint:
			if r.Unguarded {
				have = append(have, reconcile.Name(r))
			}
		case *datapath.Network:
			if r.Unguarded {
				have = append(have, reconcile.Name(r))
			}
		}
	}
	if diff := cmp.Diff([]string{"network a", "veth veth-y-br", "endpoint veth-y-br"}, have); diff != "" {
		t.Error(diff)
	}
}

func TestNumbersStay(t *testing.T) {
	n := numbersOf([]reconcile.Resource{
		&datapath.Network{Name: "old", Number: 0},
		&datapath.Endpoint{Device: "a", Number: 2},
		&datapath.Endpoint{Device: "b", Number: 0},
	})
	have := []uint32{n.network("new"), n.network("old"), n.endpoint("a"), n.endpoint("c"), n.endpoint("d"), n.endpoint("c")}
	if diff := cmp.Diff([]uint32{1, 0, 2, 1, 3, 1}, have); diff != "" {
		t.Error(diff)
	}
}

// Every kind that want makes survives the state file.
func TestDecodeBringsBackWhatTheStateHolds(t *testing.T) {
	cfg := parse(t, `networks:
  - {name: a, subnets: [10.0.1.0/24], gateway: 10.0.1.254, endpoints: [{namespace: ns1, addresses: [10.0.1.1]}]}
  - {name: b, subnets: [10.0.2.0/24, fd00:2::/64], gateway: [10.0.2.254, fd00:2::254], datapath: kernel,
     endpoints: [{namespace: ns2, addresses: [10.0.2.1, fd00:2::1]}]}
`)
	for _, r := range want(cfg, place, numbersOf(nil)) {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decode(r.Kind(), data)
		if err != nil {
			t.Fatalf("%s: %v", reconcile.Name(r), err)
		}
		again, err := json.Marshal(back)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(data), string(again)); diff != "" || reconcile.Name(r) != reconcile.Name(back) {
			t.Errorf("%s: came back as %s: %s", reconcile.Name(r), reconcile.Name(back), diff)
		}
	}
}

func TestUplinkSumsUpItsNetworks(t *testing.T) {
	cfg := parse(t, `networks:
  - {name: a, subnets: [10.0.0.0/24], gateway: 10.0.0.1, mapping: endpoint-dependent, ports: 40000-41000}
  - {name: b, subnets: [10.0.1.0/24], gateway: 10.0.1.1, filtering: endpoint-independent, ports: 2000-3000}
  - {name: c, subnets: [10.0.2.0/24], gateway: 10.0.2.1, masquerade: false}
`)
	got := wantUplink(place.uplinks[0], cfg.Networks, place)
	want := &datapath.Uplink{
		Device: "eth0", Address: place.uplinks[0].Address, MTU: 1500, PortFirst: 2000, PortLast: 41000, Tuples: true, Ports: true,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}
