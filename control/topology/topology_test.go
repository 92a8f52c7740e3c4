// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

var (
	bridgeMAC = MAC{2, 0, 0, 0, 0, 10}
	innerMAC  = MAC{2, 0, 0, 0, 0, 1}

	exampleNamespace = Namespace{Name: "ns1"}
	exampleBridge    = Bridge{Name: "br1", MTU: 1500, MAC: bridgeMAC, Network: "br1"}
	exampleVeth      = Veth{Host: "veth-ns1-br", Namespace: "ns1", Interface: "veth-ns1", MAC: innerMAC, MTU: 1500, Bridge: "br1"}
	exampleGateway   = Address{Device: "br1", Prefix: netip.MustParsePrefix("192.168.15.10/24")}
	exampleAddress   = Address{Namespace: "ns1", Device: "veth-ns1", Prefix: netip.MustParsePrefix("192.168.15.1/24")}
	exampleRoute     = Route{Namespace: "ns1", Gateway: netip.MustParseAddr("192.168.15.10"), Device: "veth-ns1"}
	exampleNeighbour = Neighbour{Device: "br1", Address: netip.MustParseAddr("192.168.15.1"), MAC: innerMAC}
	exampleFDB       = FDB{Device: "veth-ns1-br", MAC: innerMAC}

	exampleStatic6      = Static6{Namespace: "ns1", Device: "veth-ns1"}
	exampleGateway6     = Address{Device: "br1", Prefix: netip.MustParsePrefix("fd00:15::10/64")}
	exampleAddress6     = Address{Namespace: "ns1", Device: "veth-ns1", Prefix: netip.MustParsePrefix("fd00:15::1/64")}
	exampleRoute6       = Route{Namespace: "ns1", Gateway: netip.MustParseAddr("fd00:15::10"), Device: "veth-ns1"}
	exampleProxy6       = Proxy6{Device: "lo", Address: netip.MustParseAddr("fd00:15::1")}
	exampleNeighbour6   = Neighbour{Device: "br1", Address: netip.MustParseAddr("fd00:15::1"), MAC: innerMAC}
	exampleBridgeStatic = Static6{Device: "br1"}
)

// example is one endpoint on one network, in dependency order.
func example() []reconcile.Resource {
	return []reconcile.Resource{
		exampleNamespace, exampleBridge, exampleBridgeStatic, exampleGateway, exampleGateway6,
		&Sysctl{Key: "net/ipv4/conf/br1/forwarding", Value: "1"},
		&Sysctl{Key: "net/ipv4/conf/lo/rp_filter", Value: "2"},
		exampleVeth, exampleStatic6, exampleAddress, exampleAddress6, exampleRoute, exampleRoute6,
		exampleNeighbour, exampleNeighbour6, exampleFDB,
	}
}

// converge brings the host from owned to want, and checks that nothing is left to do.
func converge(t *testing.T, want, owned []reconcile.Resource) reconcile.Plan {
	t.Helper()
	plan := plan(t, want, owned)
	must(t, reconcile.Run(context.Background(), plan, nil))
	return plan
}

func plan(t *testing.T, want, owned []reconcile.Resource) reconcile.Plan {
	t.Helper()
	observed, err := reconcile.Observe(want, owned)
	must(t, err)
	p, err := reconcile.Diff(want, owned, observed)
	must(t, err)
	return p
}

func TestUpAndDown(t *testing.T) {
	sandbox(t)
	before := snapshot(t)
	want := example()
	if p := converge(t, want, nil); len(p) != len(want) {
		t.Errorf("plan of an empty host:\n%s", p)
	}
	up := snapshot(t)
	if p := plan(t, example(), want); len(p) != 0 {
		t.Errorf("second plan:\n%s", p)
	}
	if p := plan(t, example()[1:], nil); len(p) != 0 {
		t.Errorf("plan for links that only their tags say are ours:\n%s", p)
	}
	for _, r := range want {
		must(t, r.Apply())
	}
	if diff := cmp.Diff(up, snapshot(t)); diff != "" {
		t.Errorf("applied twice:\n%s", diff)
	}
	converge(t, nil, stored(t, want))
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
	for _, r := range want {
		must(t, r.Remove())
	}
}

// TestRemoveOnEmptyHost removes everything where there is nothing, not even devices.
func TestRemoveOnEmptyHost(t *testing.T) {
	sandbox(t)
	for _, r := range example() {
		must(t, r.Remove())
	}
	v6 := Route{Namespace: "ns1", Gateway: netip.MustParseAddr("fd00::1"), Device: "veth-ns1"}
	must(t, v6.Remove())
}

// stored passes resources through the state file's encoding.
func stored(t *testing.T, resources []reconcile.Resource) []reconcile.Resource {
	t.Helper()
	var back []reconcile.Resource
	for _, r := range resources {
		data, err := json.Marshal(r)
		must(t, err)
		decoded, err := Decode(r.Kind(), data)
		must(t, err)
		if !reflect.DeepEqual(r, decoded) {
			t.Errorf("%s came back as %#v, was %#v", data, decoded, r)
		}
		back = append(back, decoded)
	}
	return back
}

func TestKinds(t *testing.T) {
	kinds := Kinds()
	for _, r := range stored(t, example()) {
		if !slices.Contains(kinds, r.Kind()) {
			t.Errorf("kind %s is not listed in %v", r.Kind(), kinds)
		}
	}
	if _, err := Decode("carrier pigeon", nil); err == nil {
		t.Error("an unknown kind is decoded")
	}
	if _, err := Decode("veth", []byte(`{"MAC":"02:00"}`)); err == nil {
		t.Error("a short MAC is decoded")
	}
}

// TestRepair changes the finished topology by hand, and wants the resource to see it and everything to be as before.
func TestRepair(t *testing.T) {
	link := func(name string, change func(netlink.Link) error) func() error {
		return func() error { return onDevice("", name, func(_ handle, l netlink.Link) error { return change(l) }) }
	}
	inner := func(change func(handle, netlink.Link) error) func() error {
		return func() error { return onDevice("ns1", "veth-ns1", change) }
	}
	tests := map[string]struct {
		change func() error
		seen   reconcile.Resource
		want   reconcile.Status
	}{
		"bridge mtu": {link("br1", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1400) }), exampleBridge, reconcile.Different},
		"bridge mac": {link("br1", func(l netlink.Link) error {
			return netlink.LinkSetHardwareAddr(l, net.HardwareAddr{2, 9, 9, 9, 9, 9})
		}), exampleBridge, reconcile.Different},
		"bridge gone": {link("br1", netlink.LinkDel), exampleBridge, reconcile.Absent},
		"bridge down": {link("br1", netlink.LinkSetDown), exampleBridge, reconcile.Different},
		"port freed":  {link("veth-ns1-br", netlink.LinkSetNoMaster), exampleVeth, reconcile.Different},
		"port down":   {link("veth-ns1-br", netlink.LinkSetDown), exampleVeth, reconcile.Different},
		"port learns": {link("veth-ns1-br", func(l netlink.Link) error { return netlink.LinkSetLearning(l, true) }), exampleVeth, reconcile.Different},
		"port speaks": {func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/veth-ns1-br/disable_ipv6", []byte("0"), 0)
		}, exampleVeth, reconcile.Different},
		"veth gone":  {link("veth-ns1-br", netlink.LinkDel), exampleVeth, reconcile.Absent},
		"inner mtu":  {inner(func(h handle, l netlink.Link) error { return h.LinkSetMTU(l, 1400) }), exampleVeth, reconcile.Different},
		"inner down": {inner(func(h handle, l netlink.Link) error { return h.LinkSetDown(l) }), exampleVeth, reconcile.Different},
		"inner renamed": {inner(func(h handle, l netlink.Link) error {
			must(t, h.LinkSetDown(l))
			return h.LinkSetName(l, "other")
		}), exampleVeth, reconcile.Different},
		"inner moved":    {inner(func(h handle, l netlink.Link) error { return moveToHost(h, l) }), exampleVeth, reconcile.Different},
		"namespace gone": {exampleNamespace.Remove, exampleNamespace, reconcile.Absent},
		"wreck":          {func() error { return unix.Unmount(namespacePath("ns1"), unix.MNT_DETACH) }, exampleNamespace, reconcile.Different},
		"lo down": {func() error {
			return onDevice("ns1", "lo", func(h handle, l netlink.Link) error { return h.LinkSetDown(l) })
		}, exampleNamespace, reconcile.Different},
		"address gone": {exampleAddress.Remove, exampleAddress, reconcile.Absent},
		"address prefix": {func() error {
			must(t, exampleGateway.Remove())
			return Address{Device: "br1", Prefix: netip.MustParsePrefix("192.168.15.10/32")}.Apply()
		}, exampleGateway, reconcile.Different},
		"route gone": {exampleRoute.Remove, exampleRoute, reconcile.Absent},
		"route gateway": {func() error {
			other := exampleRoute
			other.Gateway = netip.MustParseAddr("192.168.15.77")
			return other.Apply()
		}, exampleRoute, reconcile.Different},
		"IPv6 address gone": {exampleAddress6.Remove, exampleAddress6, reconcile.Absent},
		"IPv6 address prefix": {func() error {
			must(t, exampleGateway6.Remove())
			return Address{Device: "br1", Prefix: netip.MustParsePrefix("fd00:15::10/128")}.Apply()
		}, exampleGateway6, reconcile.Different},
		"IPv6 route gone": {exampleRoute6.Remove, exampleRoute6, reconcile.Absent},
		"IPv6 route gateway": {func() error {
			other := exampleRoute6
			other.Gateway = netip.MustParseAddr("fd00:15::77")
			return other.Apply()
		}, exampleRoute6, reconcile.Different},
		"IPv6 neighbour gone": {exampleNeighbour6.Remove, exampleNeighbour6, reconcile.Absent},
		"IPv6 off": {func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/br1/disable_ipv6", []byte("1"), 0)
		}, exampleBridgeStatic, reconcile.Different},
		"router advertisements": {inner(func(h handle, _ netlink.Link) error {
			return h.enter(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/veth-ns1/accept_ra", []byte("1"), 0) })
		}), exampleStatic6, reconcile.Different},
		"neighbour gone": {exampleNeighbour.Remove, exampleNeighbour, reconcile.Absent},
		"neighbour mac": {func() error {
			return Neighbour{Device: "br1", Address: exampleNeighbour.Address, MAC: bridgeMAC}.Apply()
		}, exampleNeighbour, reconcile.Different},
		"fdb gone": {exampleFDB.Remove, exampleFDB, reconcile.Absent},
		"fdb local": {func() error {
			return onDevice("", "veth-ns1-br", func(h handle, l netlink.Link) error {
				m := exampleFDB.message(l)
				m.State, m.Flags = netlink.NUD_PERMANENT, netlink.NTF_MASTER // a local one cannot be sticky
				return h.NeighSet(m)
			})
		}, exampleFDB, reconcile.Different},
		"sysctl": {func() error {
			return os.WriteFile("/proc/sys/net/ipv4/conf/br1/forwarding", []byte("0"), 0)
		}, &Sysctl{Key: "net/ipv4/conf/br1/forwarding", Value: "1"}, reconcile.Different},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sandbox(t)
			owned := example()
			converge(t, owned, nil)
			before := settle(snapshot(t))
			must(t, test.change())
			wantStatus(t, test.seen, true, test.want)
			rounds := 0
			for want := example(); len(plan(t, want, owned)) > 0; rounds++ {
				converge(t, want, owned)
				owned = want
				if rounds > 2 {
					t.Fatalf("does not converge:\n%s", plan(t, want, owned))
				}
			}
			if diff := cmp.Diff(before, settle(snapshot(t))); diff != "" {
				t.Errorf("after %d rounds:\n%s", rounds, diff)
			}
		})
	}
}

func moveToHost(h handle, l netlink.Link) error {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return h.LinkSetNsFd(l, fd)
}

// settle drops what the kernel chooses anew for a link that is made again: the MAC of the host's end, and the multicast entries
// and carrier flags that follow by themselves.
func settle(snapshot string) string {
	var kept []string
	for line := range strings.Lines(snapshot) {
		switch {
		case strings.HasPrefix(line, "neigh") && !strings.Contains(line, innerMAC.String()):
			continue
		case strings.HasPrefix(line, "link veth-ns1-br"), strings.HasPrefix(line, "link br1+1d"), strings.HasPrefix(line, "link br1+1u"):
			line = strings.Join(slices.Delete(strings.Fields(line), 4, 5), " ") + "\n"
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "")
}
