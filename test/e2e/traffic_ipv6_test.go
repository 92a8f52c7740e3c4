// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/test/lab"
	"flyover/test/lab/labtest"
)

const dualStack = `networks:
  - name: br1
    subnets: [192.168.15.0/24, fd00:15::/64]
    gateway: [192.168.15.10, fd00:15::10]
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1, fd00:15::1]}
      - {namespace: ns2, addresses: [192.168.15.2, fd00:15::2]}
`

const ipv6Only = `networks:
  - name: br1
    subnets: [fd00:15::/64]
    gateway: fd00:15::10
    endpoints:
      - {namespace: ns1, addresses: [fd00:15::1]}
      - {namespace: ns2, addresses: [fd00:15::2]}
`

var (
	ns1Six     = place{"ns1", netip.MustParseAddr("fd00:15::1")}
	ns2Six     = place{"ns2", netip.MustParseAddr("fd00:15::2")}
	gatewaySix = place{"", netip.MustParseAddr("fd00:15::10")}
	uplinkSix  = place{"", netip.MustParseAddr(lab.UplinkAddress6)}
	outsideSix = place{outside, netip.MustParseAddr(lab.OutsideAddress6)}
)

// overIPv6 runs test in a fresh lab with a network of IPv6 beside IPv4, and with one of IPv6 alone, with either datapath.
func overIPv6(t *testing.T, test func(*testing.T)) {
	for name, config := range map[string]string{
		"dual stack": dualStack, "IPv6": ipv6Only,
		"kernel, dual stack": kernelDatapath(dualStack), "kernel, IPv6": kernelDatapath(ipv6Only),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				flyover(t, "up", "-f", configFile(t, config))
				forwardsAs(t, config)
				if !strings.Contains(config, "datapath: kernel") {
					sealed(t)
					conserved(t)
				}
				test(t)
			})
		})
	}
}

// At once after up: nothing waits for duplicate address detection.
func TestTrafficIPv6Inside(t *testing.T) {
	overIPv6(t, func(t *testing.T) {
		exchange(t, ns1Six, ns2Six)
		exchange(t, ns2Six, ns1Six)
		exchange(t, ns1Six, gatewaySix)
		exchange(t, gatewaySix, ns2Six)
		exchange(t, ns1Six, uplinkSix)
	})
}

func TestTrafficIPv6Masquerade(t *testing.T) {
	overIPv6(t, func(t *testing.T) {
		exchange(t, uplinkSix, outsideSix)
		for _, from := range []place{ns1Six, ns2Six} {
			run(t, from.ns, "ping", "-c", "2", "-i", "0.01", "-W", "5", "-s", "4000", outsideSix.addr.String())
			seen := make(chan net.Addr, 1)
			port := tcpServe(t, outsideSix, func(conn *net.TCPConn) { seen <- conn.RemoteAddr() })
			tcpDial(t, from, netip.AddrPortFrom(outsideSix.addr, port))
			if source := netip.MustParseAddrPort((<-seen).String()).Addr(); source != uplinkSix.addr {
				t.Errorf("the outside sees %s as %s", from.addr, source)
			}
			tcpTransfer(t, from, outsideSix, 1<<20)
		}
	})
}

// The addresses are the configuration's, and the one that comes from the MAC; nobody else gives routes or addresses.
func TestIPv6IsStatic(t *testing.T) {
	overIPv6(t, func(t *testing.T) {
		for _, end := range [][2]string{{"ns1", "veth-ns1"}, {"", "br1"}} {
			ip := []string{"ip", "-6", "-o"}
			if end[0] != "" {
				ip = append(ip, "-n", end[0])
			}
			mac, err := net.ParseMAC(macOf(t, end[0], end[1]))
			if err != nil {
				t.Fatal(err)
			}
			local := linkLocal(mac)
			addrs := run(t, "", append(ip, "addr", "show", "dev", end[1])...)
			if strings.Count(addrs, "inet6") != 2 || !strings.Contains(addrs, " "+local.String()+"/64 ") {
				t.Errorf("addresses of %s, not the configured one and %s:\n%s", end[1], local, addrs)
			}
		}
	})
}

// The host forwards between the network and the uplink, and no other interfaces.
func TestIPv6ForwardsNothingElse(t *testing.T) {
	overIPv6(t, func(t *testing.T) {
		sh(t, `ip netns add other && ip link add other type veth peer name veth0 netns other
			ip addr add 2001:db8:1::1/64 dev other nodad && ip link set other up
			ip -n other addr add 2001:db8:1::2/64 dev veth0 nodad && ip -n other link set veth0 up
			ip -n other route add default via 2001:db8:1::1
			ip -n outside route add 2001:db8:1::/64 via 2001:db8:ffff::2`)
		if out, err := try("other", "ping", "-c", "1", "-W", "5", "2001:db8:1::1"); err != nil {
			t.Fatal(err, out)
		}
		if out, err := try("other", "ping", "-c", "1", "-W", "1", outsideSix.addr.String()); err == nil {
			t.Errorf("the host has become a router for others:\n%s", out)
		}
		run(t, "ns1", "ping", "-c", "1", "-W", "5", outsideSix.addr.String())
	})
}

// IPv6 is added to a network and taken away again under IPv4's traffic.
func TestIPv6ComesAndGoes(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		ipv4 := configFile(t, tutorial)
		flyover(t, "up", "-f", ipv4)
		const look = "nft list ruleset; ip -n ns1 -6 route show default; ip -6 addr show scope global; grep . /proc/sys/net/ipv6/conf/eth0/*forwarding"
		before := sh(t, look)
		inside := startStream(t, "ns1", "ns2", "192.168.15.2")
		outside := startStream(t, "ns1", "outside", "203.0.113.1")
		flyover(t, "up", "-f", configFile(t, dualStack))
		noDrift(t)
		forwardsAs(t, dualStack)
		flyover(t, "up", "-f", ipv4)
		noDrift(t)
		if diff := cmp.Diff(before, sh(t, look)); diff != "" {
			t.Errorf("left of IPv6:\n%s", diff)
		}
		inside.progress(t)
		outside.progress(t)
		inside.whole(t)
		outside.whole(t)
	})
}

func TestStatusShowsBothFamilies(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		flyover(t, "up", "-f", configFile(t, dualStack))
		n := status(t).Networks[0]
		if n.Gateway != "192.168.15.10/24" || strings.Join(n.Gateways, " ") != "192.168.15.10/24 fd00:15::10/64" {
			t.Errorf("gateway %s, gateways %v", n.Gateway, n.Gateways)
		}
		e := n.Endpoints[0]
		if e.Address != "192.168.15.1/24" || strings.Join(e.Addresses, " ") != "192.168.15.1/24 fd00:15::1/64" {
			t.Errorf("address %s, addresses %v", e.Address, e.Addresses)
		}
		text := flyover(t, "status")
		for _, word := range []string{"gateway 192.168.15.10/24,fd00:15::10/64", " 192.168.15.1/24,fd00:15::1/64 "} {
			if !strings.Contains(text, word) {
				t.Errorf("no %q in\n%s", word, text)
			}
		}
	})
}
