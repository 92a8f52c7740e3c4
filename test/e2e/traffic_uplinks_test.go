// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"flyover/test/lab/labtest"
)

// The second uplink leads to another outside. Both know the far remote.
const (
	secondOutside = "outside2"
	farPort       = 7000
)

var (
	addrSecondUplink  = netip.MustParseAddr("198.51.100.2")
	addrSecondOutside = netip.MustParseAddr("198.51.100.1")
	addrFar           = netip.MustParseAddr("192.0.2.1")
)

// twoUplinks gives the lab a second uplink, eth1, and brings the default network up over both.
func twoUplinks(t *testing.T, v variant) {
	t.Helper()
	sh(t, `ip netns add outside2
		ip link add eth1 type veth peer name outside2 netns outside2
		ip addr add 198.51.100.2/24 dev eth1 && ip link set eth1 up
		ip -n outside2 addr add 198.51.100.1/24 dev outside2 && ip -n outside2 link set outside2 up
		ip -n outside2 link set lo up && ip -n outside2 addr add 192.0.2.1/32 dev lo
		ip -n outside addr add 192.0.2.1/32 dev lo
		ip route add 192.0.2.0/24 via 203.0.113.1`)
	for _, p := range []place{atOutside, {outside, addrFar}, {secondOutside, addrSecondOutside}, {secondOutside, addrFar}} {
		tellSource(t, p)
	}
	upAgain(t, v)
}

// upAgain is what has to be run after a change of the host's addresses.
func upAgain(t *testing.T, v variant) {
	t.Helper()
	flyover(t, "up", "-f", configFile(t, "uplinks: [eth0, eth1]\n"+tutorial), "--hook", v.hook)
}

// tellSource starts a server that answers every datagram with the source that it came from.
func tellSource(t *testing.T, p place) {
	t.Helper()
	conn := udpAt(t, p, farPort)
	go func() {
		buffer := make([]byte, 64)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort([]byte(from.Addr().String()), from)
		}
	}()
}

// sourceOf asks a remote which address a socket's datagrams come from; of none, that is the zero address.
func sourceOf(t *testing.T, conn *net.UDPConn, remote netip.Addr) netip.Addr {
	t.Helper()
	to := netip.AddrPortFrom(remote, farPort)
	if _, err := conn.WriteToUDPAddrPort([]byte("?"), to); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64)
	n, from, err := conn.ReadFromUDPAddrPort(buffer)
	if err != nil || from != to {
		return netip.Addr{}
	}
	source, _ := netip.ParseAddr(string(buffer[:n]))
	return source
}

// comesFrom waits until a socket's datagrams come from an address: a session looks at the routes once a second.
func comesFrom(t *testing.T, what string, conn *net.UDPConn, remote, want netip.Addr) {
	t.Helper()
	var got netip.Addr
	deadline := time.Now().Add(patience)
	for got != want && time.Now().Before(deadline) {
		got = sourceOf(t, conn, remote)
	}
	if got != want {
		t.Errorf("%s: %s sees %v as source, want %v", what, remote, got, want)
	}
}

func overTwoUplinks(t *testing.T, test func(*testing.T, variant)) {
	for _, v := range []variant{tcx, clsact} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				twoUplinks(t, v)
				test(t, v)
			})
		})
	}
}

// Each uplink has its own address, and the host's routes say which it is.
func TestUplinkSource(t *testing.T) {
	overTwoUplinks(t, func(t *testing.T, v variant) {
		conn := udpAt(t, inNS1, 4000)
		comesFrom(t, "on-link", conn, addrOutside, addrUplink)
		comesFrom(t, "on-link", conn, addrSecondOutside, addrSecondUplink)
		comesFrom(t, "by a route", conn, addrFar, addrUplink)
		// Of several addresses, the one that the kernel would take.
		sh(t, `ip addr add 203.0.113.9/24 dev eth0
			ip route replace default via 203.0.113.1 src 203.0.113.9`)
		upAgain(t, v)
		comesFrom(t, "route's source", conn, addrOutside, netip.MustParseAddr("203.0.113.9"))
	})
}

// A route moves sessions that begin then. One that has begun stays where it is, as long as its uplink has a route, and moves when that
// goes: its remote has to see one address.
func TestUplinkRouteChange(t *testing.T) {
	overTwoUplinks(t, func(t *testing.T, v variant) {
		old := udpAt(t, inNS1, 4000)
		comesFrom(t, "before", old, addrFar, addrUplink)
		sh(t, "ip route replace 192.0.2.0/24 via 198.51.100.1")
		time.Sleep(2 * time.Second) // the session looks at the routes again
		for range 3 {
			if got := sourceOf(t, old, addrFar); got != addrUplink {
				t.Errorf("a session has moved from %v to %v", addrUplink, got)
			}
		}
		comesFrom(t, "begun after the change", udpAt(t, inNS1, 4001), addrFar, addrSecondUplink)
		sh(t, "ip route del default")
		comesFrom(t, "without a route by its uplink", old, addrFar, addrSecondUplink)
		sh(t, `ip link set eth1 down
			ip route add default via 203.0.113.1`)
		comesFrom(t, "uplink down", old, addrFar, addrUplink)
	})
}

// An address that goes takes the sessions along that are translated to it, within a second of the next `up`.
func TestUplinkAddressChange(t *testing.T) {
	overTwoUplinks(t, func(t *testing.T, v variant) {
		conn := udpAt(t, inNS1, 4000)
		comesFrom(t, "before", conn, addrOutside, addrUplink)
		sh(t, `ip addr del 203.0.113.2/24 dev eth0
			ip addr add 203.0.113.3/24 dev eth0
			ip route add default via 203.0.113.1`)
		upAgain(t, v)
		time.Sleep(2 * time.Second) // a session looks at its uplink with the first packet of a second
		atOutside := openCapture(t, outside, "eth0")
		comesFrom(t, "after", conn, addrOutside, netip.MustParseAddr("203.0.113.3"))
		atOutside.none(t, "address that is gone, or none", func(f frame) bool {
			src, _ := f.Addrs()
			return !f.Sent && (src == addrUplink || src == netip.IPv4Unspecified())
		})
		noDrift(t)
	})
}

// An uplink that has lost its address is named, and nothing is translated to none.
func TestUplinkWithoutAddress(t *testing.T) {
	overTwoUplinks(t, func(t *testing.T, v variant) {
		conn := udpAt(t, inNS1, 4000)
		comesFrom(t, "before", conn, addrSecondOutside, addrSecondUplink)
		atSecond := openCapture(t, secondOutside, "outside2")
		sh(t, "ip addr del 198.51.100.2/24 dev eth1 && ip route add 198.51.100.0/24 dev eth1")
		attempt(t, "up", "-f", configFile(t, "uplinks: [eth0, eth1]\n"+tutorial)).
			refused(t, 1, "eth1", "no global IPv4 address")
		sourceOf(t, conn, addrSecondOutside)
		atSecond.none(t, "no address", func(f frame) bool {
			src, _ := f.Addrs()
			return !f.Sent && src == netip.IPv4Unspecified()
		})
		comesFrom(t, "the other uplink", conn, addrOutside, addrUplink)
	})
}
