// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

const patience = 20 * time.Second

// advertised makes eth0, whose other end is a router in ns1, and waits for the default route that it advertises.
func advertised(t *testing.T) {
	t.Helper()
	must(t, exampleNamespace.Apply())
	eth0 := Veth{Host: "eth0", Namespace: "ns1", Interface: "router", MAC: innerMAC, MTU: 1500}
	must(t, eth0.Apply())
	l, err := netlink.LinkByName("eth0")
	must(t, err)
	must(t, netlink.LinkSetAlias(l, "")) // as if it was not ours
	must(t, Address{Namespace: "ns1", Device: "router", Prefix: netip.MustParsePrefix("fe80::99/64")}.Apply())
	for deadline := time.Now().Add(patience); !slices.Contains(defaults6(t), "eth0"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no default route by router advertisement")
		}
		must(t, onDevice("ns1", "router", func(h handle, l netlink.Link) error {
			return h.enter(func() error { return advertise(l.Attrs().Index) })
		}))
	}
}

// advertise sends one router advertisement (RFC 4861 section 4.2) from fe80::99 to all nodes; the kernel adds the checksum.
func advertise(index int) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		return err
	}
	from := &unix.SockaddrInet6{Addr: netip.MustParseAddr("fe80::99").As16(), ZoneId: uint32(index)}
	if err := unix.Bind(fd, from); err != nil {
		return err
	}
	to := &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16(), ZoneId: uint32(index)}
	const lifetime = 1800 // seconds
	return unix.Sendto(fd, []byte{134, 0, 0, 0, 64, 0, lifetime >> 8, lifetime & 0xff, 0, 0, 0, 0, 0, 0, 0, 0}, 0, to)
}

func defaults6(t *testing.T) []string {
	t.Helper()
	names, err := DefaultRouteInterfaces(true)
	must(t, err)
	return names
}

func forwarding6() []reconcile.Resource {
	return []reconcile.Resource{&Sysctl{Key: "net/ipv6/conf/eth0/accept_ra", Value: "2"}, &Forwarding6{}}
}

func wantSysctls(t *testing.T, when string, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if have, err := (&Sysctl{Key: conf6 + key}).read(); err != nil || have != value {
			t.Errorf("%s: %s is %s (%v), want %s", when, key, have, err, value)
		}
	}
}

// TestForwarding6KeepsAdvertisedRoutes has a host that is configured by router advertisements.
func TestForwarding6KeepsAdvertisedRoutes(t *testing.T) {
	sandbox(t)
	advertised(t)
	must(t, exampleBridge.Apply()) // which is ours
	for range 2 {                  // before and after
		names, err := Listeners()
		must(t, err)
		if !slices.Equal(names, []string{"eth0"}) {
			t.Errorf("interfaces that listen to routers: %v", names)
		}
		owned := forwarding6()
		converge(t, owned, nil)
		wantSysctls(t, "up", map[string]string{"all/forwarding": "1", "eth0/forwarding": "1", "eth0/accept_ra": "2"})
		names, err = Listeners()
		must(t, err)
		if !slices.Equal(names, []string{"eth0"}) {
			t.Errorf("interfaces that listen to routers while the host forwards: %v", names)
		}
		if len(defaults6(t)) == 0 {
			t.Error("up took the host's default route")
		}
		converge(t, nil, stored(t, owned))
		wantSysctls(t, "down", map[string]string{"all/forwarding": "0", "eth0/forwarding": "0", "eth0/accept_ra": "1"})
		if len(defaults6(t)) == 0 {
			t.Error("down took the host's default route")
		}
	}
}

// TestForwarding6AloneTakesAdvertisedRoutes shows that the test above can fail.
func TestForwarding6AloneTakesAdvertisedRoutes(t *testing.T) {
	sandbox(t)
	advertised(t)
	must(t, (&Forwarding6{}).Apply())
	if names := defaults6(t); len(names) != 0 {
		t.Errorf("the kernel leaves default routes by router advertisement: %v", names)
	}
}

// TestForwarding6Restores has interfaces that others made routers.
func TestForwarding6Restores(t *testing.T) {
	sandbox(t)
	outside(t)
	own := map[string]string{"default/forwarding": "1", "eth0/forwarding": "0", "eth1/forwarding": "1"}
	for key, value := range own {
		must(t, (&Sysctl{Key: conf6 + key}).write(value))
	}
	owned := []reconcile.Resource{&Forwarding6{}}
	converge(t, owned, nil)
	wantSysctls(t, "up", map[string]string{"eth0/forwarding": "1"})
	second := []reconcile.Resource{&Forwarding6{}}
	converge(t, second, owned)
	converge(t, nil, stored(t, second))
	own["all/forwarding"] = "0"
	wantSysctls(t, "down", own)
}

// TestForwarding6LeavesRouters has a host that forwards anyway.
func TestForwarding6LeavesRouters(t *testing.T) {
	sandbox(t)
	must(t, conf6Of("all", "forwarding").write("1"))
	owned := []reconcile.Resource{&Forwarding6{}}
	converge(t, owned, nil)
	converge(t, nil, stored(t, owned))
	must(t, owned[0].Remove())
	wantSysctls(t, "down", map[string]string{"all/forwarding": "1"})
}

// TestStatic6 has an interface that a router on its link would configure.
func TestStatic6(t *testing.T) {
	sandbox(t)
	advertised(t)
	s := Static6{Device: "eth0"}
	wantStatus(t, s, false, reconcile.Different)
	must(t, s.Apply())
	wantStatus(t, s, true, reconcile.Same)
	must(t, netlink.RouteDel(&netlink.Route{Dst: netOf(netip.MustParsePrefix("::/0")), Gw: netip.MustParseAddr("fe80::99").AsSlice()}))
	must(t, onDevice("ns1", "router", func(h handle, l netlink.Link) error {
		return h.enter(func() error { return advertise(l.Attrs().Index) })
	}))
	time.Sleep(100 * time.Millisecond) // a packet takes microseconds
	if names := defaults6(t); len(names) != 0 {
		t.Errorf("a router advertisement made a default route: %v", names)
	}
	wantStatus(t, Static6{Device: "gone"}, true, reconcile.Absent)
	wantStatus(t, Static6{Namespace: "gone", Device: "gone"}, true, reconcile.Absent)
}
