// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// outside makes two uplinks: eth0 with two subnets, eth1 with one.
func outside(t *testing.T) {
	t.Helper()
	for _, pair := range [][2]string{{"eth0", "far0"}, {"eth1", "far1"}} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = pair[0]
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: pair[1], PeerTxQLen: -1}))
		for _, name := range pair {
			must(t, onDevice("", name, setUp))
		}
	}
	for _, a := range []struct{ device, prefix string }{
		{"eth0", "10.0.0.5/24"}, {"eth0", "10.0.0.6/24"}, {"eth0", "10.9.0.7/24"}, {"eth1", "10.1.0.5/24"},
	} {
		must(t, Address{Device: a.device, Prefix: netip.MustParsePrefix(a.prefix)}.Apply())
	}
}

func addDefault(t *testing.T, device, gateway, source string, metric int) {
	t.Helper()
	l, err := netlink.LinkByName(device)
	must(t, err)
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Gw: netip.MustParseAddr(gateway).AsSlice(), Priority: metric}
	if source != "" {
		r.Src = netip.MustParseAddr(source).AsSlice()
	}
	must(t, netlink.RouteAdd(r))
}

func TestDefaultRouteInterfaces(t *testing.T) {
	sandbox(t)
	outside(t)
	wantInterfaces(t)
	addDefault(t, "eth0", "10.0.0.1", "", 200)
	addDefault(t, "eth0", "10.0.0.1", "", 300)
	wantInterfaces(t, "eth0")
	addDefault(t, "eth1", "10.1.0.1", "", 100)
	wantInterfaces(t, "eth1", "eth0")
	must(t, netlink.RouteAdd(&netlink.Route{Dst: netOf(Route{}.destination()), Type: unix.RTN_UNREACHABLE, Priority: 900}))
	wantInterfaces(t, "eth1", "eth0")
}

func TestDefaultRouteInterfacesMultipath(t *testing.T) {
	sandbox(t)
	outside(t)
	var hops []*netlink.NexthopInfo
	for device, gateway := range map[string]string{"eth0": "10.0.0.1", "eth1": "10.1.0.1"} {
		l, err := netlink.LinkByName(device)
		must(t, err)
		hops = append(hops, &netlink.NexthopInfo{LinkIndex: l.Attrs().Index, Gw: netip.MustParseAddr(gateway).AsSlice()})
	}
	must(t, netlink.RouteAdd(&netlink.Route{Dst: netOf(Route{}.destination()), MultiPath: hops}))
	names, err := DefaultRouteInterfaces(false)
	must(t, err)
	if slices.Sort(names); !slices.Equal(names, []string{"eth0", "eth1"}) {
		t.Error(names)
	}
	wantSource(t, "eth1", "10.1.0.5")
}

func wantInterfaces(t *testing.T, want ...string) {
	t.Helper()
	names, err := DefaultRouteInterfaces(false)
	must(t, err)
	if !slices.Equal(names, want) {
		t.Errorf("default route interfaces %v, want %v", names, want)
	}
}

// TestSourceAddress compares with what the kernel itself answers to a route lookup.
func TestSourceAddress(t *testing.T) {
	tests := map[string]struct{ gateway, source, want string }{
		"first of the gateway's subnet": {"10.0.0.1", "", "10.0.0.5"},
		"gateway in another subnet":     {"10.9.0.1", "", "10.9.0.7"},
		"route names the source":        {"10.0.0.1", "10.9.0.7", "10.9.0.7"},
		"secondary by route":            {"10.0.0.1", "10.0.0.6", "10.0.0.6"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sandbox(t)
			outside(t)
			addDefault(t, "eth0", test.gateway, test.source, 0)
			addDefault(t, "eth0", "10.0.0.99", "10.0.0.6", 50)
			wantSource(t, "eth0", test.want)
			kernel, err := netlink.RouteGet(netip.MustParseAddr("203.0.113.1").AsSlice())
			must(t, err)
			if got := kernel[0].Src.String(); got != test.want {
				t.Errorf("the kernel uses %s, want %s", got, test.want)
			}
		})
	}
}

// TestSourceAddress6 compares with what the kernel itself answers to a route lookup, but for the last.
func TestSourceAddress6(t *testing.T) {
	const unique, global, other = "fd00:9::5/64", "2001:db8:9::5/64", "2001:db8:8::6/64"
	tests := map[string]struct {
		addresses             []string
		gateway, source, want string
	}{
		"unique local":                {[]string{unique}, "fd00:9::1", "", "fd00:9::5"},
		"global before unique local":  {[]string{global, unique}, "fe80::1", "", "2001:db8:9::5"},
		"global before unique local2": {[]string{unique, global}, "fe80::1", "", "2001:db8:9::5"},
		"route names the source":      {[]string{global, other}, "fe80::1", "2001:db8:8::6", "2001:db8:8::6"},
		"another interface's":         {nil, "fe80::1", "", "invalid IP"},
		"no route":                    {[]string{global}, "", "", "2001:db8:9::5"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sandbox(t)
			outside(t)
			must(t, Address{Device: "eth1", Prefix: netip.MustParsePrefix("2001:db8:1::5/64")}.Apply())
			for _, a := range test.addresses {
				must(t, Address{Device: "eth0", Prefix: netip.MustParsePrefix(a)}.Apply())
			}
			if test.gateway != "" {
				addDefault(t, "eth0", test.gateway, test.source, 0)
			}
			u, err := FindUplink("eth0")
			must(t, err)
			if u.Address6.String() != test.want {
				t.Errorf("address %s, want %s", u.Address6, test.want)
			}
			if test.gateway == "" || test.addresses == nil {
				return
			}
			kernel, err := netlink.RouteGet(netip.MustParseAddr("2606:4700::1").AsSlice())
			must(t, err)
			if got := kernel[0].Src.String(); got != test.want {
				t.Errorf("the kernel uses %s, want %s", got, test.want)
			}
		})
	}
}

func TestDefaultRouteInterfaces6(t *testing.T) {
	sandbox(t)
	outside(t)
	must(t, Address{Device: "eth1", Prefix: netip.MustParsePrefix("2001:db8:1::5/64")}.Apply())
	addDefault(t, "eth0", "10.0.0.1", "", 0)
	addDefault(t, "eth1", "2001:db8:1::1", "", 0)
	wantInterfaces(t, "eth0")
	names, err := DefaultRouteInterfaces(true)
	must(t, err)
	if !slices.Equal(names, []string{"eth1"}) {
		t.Errorf("interfaces of IPv6's default routes: %v", names)
	}
}

func wantSource(t *testing.T, device, want string) {
	t.Helper()
	u, err := FindUplink(device)
	must(t, err)
	if u.Address.String() != want || u.Name != device || u.MTU != 1500 || u.MAC.IsZero() || u.Index == 0 {
		t.Errorf("uplink %+v, want address %s", u, want)
	}
}

func TestFindUplinkRefuses(t *testing.T) {
	sandbox(t)
	outside(t)
	for name, want := range map[string]string{
		"lo":   "link type loopback",
		"eth7": "no such interface",
	} {
		if _, err := FindUplink(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
