// SPDX-License-Identifier: Apache-2.0

package control

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/control/reconcile"
)

const twoNetworks = `networks:
  - name: a
    subnets: [10.0.0.0/24]
    gateway: 10.0.0.1
    endpoints:
      - {namespace: x, interface: eth0, addresses: [10.0.0.2]}
      - {namespace: y, interface: eth0, host_interface: third, addresses: [10.0.0.3]}
  - name: b
    subnets: [10.0.1.0/24]
    gateway: 10.0.1.1
    datapath: kernel
    endpoints:
      - {namespace: x, interface: eth1, addresses: [10.0.1.2]}
`

func TestDescribe(t *testing.T) {
	var s Status
	s.describe(want(parse(t, twoNetworks), place, numbersOf(nil)))
	var got []string
	for _, n := range s.Networks {
		got = append(got, n.Name+" "+n.Datapath+" "+n.Gateway)
		for _, e := range n.Endpoints {
			got = append(got, e.Namespace+" "+e.Interface+" "+e.HostInterface+" "+e.Address)
		}
	}
	expected := []string{
		"a ebpf 10.0.0.1/24", "x eth0 eth0-br 10.0.0.2/24", "y eth0 third 10.0.0.3/24",
		"b kernel 10.0.1.1/24", "x eth1 eth1-br 10.0.1.2/24",
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnly(t *testing.T) {
	y := []string{
		"namespace y", "veth third", "fdb third MAC", "neighbour a 10.0.0.3", "endpoint third", "attachment third from_endpoint tcx",
		"address y eth0 10.0.0.3/24", "route y default",
	}
	for name, expected := range map[string][]string{
		"y": y, "third": y, "10.0.0.3": y, "10.0.0": nil, "nobody": nil,
	} {
		var s Status
		owned := want(parse(t, twoNetworks), place, numbersOf(nil))
		s.describe(owned)
		if diff := cmp.Diff(expected, withoutMAC(s.only(name, owned))); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if len(expected) > 0 != (len(s.Networks) == 1 && len(s.Networks[0].Endpoints) == 1) {
			t.Errorf("%s: %+v", name, s.Networks)
		}
	}
	var s Status
	owned := want(parse(t, twoNetworks), place, numbersOf(nil))
	s.describe(owned)
	if s.only("x", owned); len(s.Networks) != 2 {
		t.Errorf("x is in two networks: %+v", s.Networks)
	}
}

func withoutMAC(resources []reconcile.Resource) []string {
	var names []string
	for _, r := range resources {
		name := reconcile.Name(r)
		if r.Kind() == "fdb" {
			name = name[:len(name)-len("02:00:00:00:00:00")] + "MAC"
		}
		names = append(names, name)
	}
	return names
}
