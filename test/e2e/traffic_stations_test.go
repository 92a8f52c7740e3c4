// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/lab"
	"flyover/test/lab/labtest"
	"flyover/test/wire"
)

// nested is a network with a guarded endpoint, and two behind which there are stations.
const nested = `networks:
  - name: br1
    subnets: [192.168.15.0/24, fd00:15::/64]
    gateway: [192.168.15.10, fd00:15::10]
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1, fd00:15::1]}
      - {namespace: ns2, addresses: [192.168.15.2, fd00:15::2], source-guard: false}
      - {namespace: ns3, addresses: [192.168.15.3, fd00:15::3], source-guard: false}
`

// The addresses of the stations a and b.
var (
	addrA, addrB   = netip.MustParseAddr("192.168.15.50"), netip.MustParseAddr("192.168.15.51")
	addr6A, addr6B = netip.MustParseAddr("fd00:15::50"), netip.MustParseAddr("fd00:15::51")
)

// nestBridges puts a bridge into ns2 and into ns3, which takes the endpoint's place, and makes both stations, each behind ns2.
func nestBridges(t *testing.T) {
	t.Helper()
	sh(t, `for n in 2 3; do
			mac="$(ip netns exec ns$n cat /sys/class/net/veth-ns$n/address)"
			ip -n ns$n link add inner address "$mac" type bridge
			ip -n ns$n link set veth-ns$n master inner
			ip -n ns$n link set inner up
			ip -n ns$n addr flush dev veth-ns$n
			ip -n ns$n addr add 192.168.15.$n/24 dev inner
			ip -n ns$n addr add fd00:15::$n/64 dev inner nodad
			ip -n ns$n route replace default via 192.168.15.10
		done
		station() {
			ip netns add "$1"
			ip -n "$1" link set lo up
			ip -n "$1" link add eth0 address "$2" type veth peer name "to-$1" netns ns2
			ip -n ns2 link set "to-$1" master inner up
			ip -n "$1" addr add "$3/24" dev eth0
			ip -n "$1" addr add "$4/64" dev eth0 nodad
			ip -n "$1" link set eth0 up
			ip -n "$1" route add default via 192.168.15.10
		}
		station a 02:aa:00:00:00:0a 192.168.15.50 fd00:15::50
		station b 02:aa:00:00:00:0b 192.168.15.51 fd00:15::51`)
}

// talk pings from a namespace, until the first answer: a bridge that has just been made may not forward at once.
func talk(t *testing.T, ns string, to netip.Addr) {
	t.Helper()
	until(t, ns+" reaches "+to.String(), func() bool {
		_, err := try(ns, "ping", "-c", "1", "-W", "1", to.String())
		return err == nil
	})
}

// Stations behind an endpoint without source guard talk to everybody on the network, and nobody can be anybody else.
func TestTrafficStations(t *testing.T) {
	for _, hook := range []string{"tcx", "clsact"} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				run(t, "", "flyover", "up", "--hook", hook, "-f", configFile(t, nested))
				sealed(t)
				nestBridges(t)
				stationsTalk(t, "br1")
				stationsStayInside(t)
				stationMoves(t)
				stationsForge(t)
			})
		})
	}
}

// stationsTalk has everybody talk. The bridge is the one that ns2 is a port of.
func stationsTalk(t *testing.T, bridge string) {
	t.Helper()
	before := status(t)
	for _, pair := range []struct {
		ns string
		to []netip.Addr
	}{
		{"a", []netip.Addr{addrNS1, addrGateway, addrB, ns1Six.addr, gatewaySix.addr, addr6B}},
		{"ns1", []netip.Addr{addrA, addrB, addr6A, addr6B}},
		{"", []netip.Addr{addrA, addrB, addr6A, addr6B}},
		{"ns2", []netip.Addr{addrNS1, addrGateway, addrA}},
		{"ns3", []netip.Addr{addrA, addrNS1}},
	} {
		for _, to := range pair.to {
			talk(t, pair.ns, to)
		}
	}
	if counted(status(t), "from_endpoint PASS_BRIDGE") == counted(before, "from_endpoint PASS_BRIDGE") {
		t.Error("no packet went by the bridge")
	}
	learned := run(t, "", "bridge", "fdb", "show", "br", bridge)
	if !strings.Contains(learned, "02:aa:00:00:00:0a dev veth-ns2-br") {
		t.Errorf("the bridge has not learned where a is:\n%s", learned)
	}
}

// stationsStayInside: nobody translates for a station, and the endpoint itself reaches the outside.
func stationsStayInside(t *testing.T) {
	t.Helper()
	talk(t, "ns2", addrOutside)
	before := status(t)
	if out, err := try("a", "ping", "-c", "1", "-W", "1", addrOutside.String()); err == nil {
		t.Errorf("a station reaches the outside:\n%s", out)
	}
	countedMore(t, before, "to_uplink DROP_NO_ENDPOINT", 1)
}

// stationMoves takes a from behind ns2 to behind ns3.
func stationMoves(t *testing.T) {
	t.Helper()
	sh(t, `ip -n ns2 link del to-a
		ip -n a link add eth0 address 02:aa:00:00:00:0a type veth peer name to-a netns ns3
		ip -n ns3 link set to-a master inner up
		ip -n a addr add 192.168.15.50/24 dev eth0
		ip -n a addr add fd00:15::50/64 dev eth0 nodad
		ip -n a link set eth0 up`)
	talk(t, "a", addrNS1)
	for _, ns := range []string{"ns1", "", "b"} {
		talk(t, ns, addrA)
		talk(t, ns, addr6A)
	}
}

// stationsForge sends as who is configured, other endpoints and the gateway. It does so past the bridge in ns2, which believes everything.
func stationsForge(t *testing.T) {
	t.Helper()
	fd, err := wire.Socket("ns2", "veth-ns2", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	i := injector{fd, hardware(t, "b", "eth0"), hardware(t, "", "br1"), hardware(t, "ns1", "veth-ns1")}
	third := hardware(t, "ns3", "veth-ns3")
	atNS1, atHost := openCapture(t, "ns1", "veth-ns1"), openCapture(t, "", "br1")
	for _, f := range forgedByStation(i, third) {
		before := status(t)
		i.send(t, f.frame...)
		countedMore(t, before, "from_endpoint "+f.reason, 1)
	}
	i.send(t, append([]gopacket.SerializableLayer{ethernet(i.own, i.neighbor, layers.EthernetTypeIPv4)}, udp(addrB, addrNS1)...)...)
	isMarked := func(f frame) bool { return !f.Sent && bytes.Contains(f.Data(), []byte(marker)) }
	got := atNS1.wait(t, "marked packet", 1, isMarked)
	if len(got) != 1 {
		t.Errorf("ns1 has %d marked packets, want the honest one: %v", len(got), got)
	}
	atHost.none(t, "forged packet", isMarked)
	if fdb := run(t, "", "bridge", "fdb", "show", "br", "br1"); !strings.Contains(fdb, third.String()+" dev veth-ns3-br") {
		t.Errorf("the entry of ns3 has moved:\n%s", fdb)
	}
	talk(t, "ns1", netip.MustParseAddr("192.168.15.3"))
}

func forgedByStation(i injector, third net.HardwareAddr) []forgery {
	addrThird := netip.MustParseAddr("192.168.15.3")
	var all []forgery
	add := func(reason string, eth *layers.Ethernet, packet ...gopacket.SerializableLayer) {
		all = append(all, forgery{reason, append([]gopacket.SerializableLayer{eth}, packet...)})
	}
	for _, to := range []struct {
		mac  net.HardwareAddr
		addr netip.Addr
	}{{i.neighbor, addrNS1}, {i.gateway, addrGateway}, {i.gateway, addrOutside}, {layers.EthernetBroadcast, addrNS1}} {
		for _, mac := range []net.HardwareAddr{third, i.gateway} {
			add("DROP_SOURCE_MAC", ethernet(mac, to.mac, layers.EthernetTypeIPv4), udp(addrB, to.addr)...)
		}
		for _, src := range []netip.Addr{addrThird, addrGateway} {
			if src != to.addr {
				add("DROP_SOURCE_IPV4", ethernet(i.own, to.mac, layers.EthernetTypeIPv4), udp(src, to.addr)...)
			}
		}
		priority := &layers.Dot1Q{Priority: 5, Type: layers.EthernetTypeIPv4}
		add("DROP_VLAN", ethernet(i.own, to.mac, layers.EthernetTypeDot1Q),
			append([]gopacket.SerializableLayer{priority}, udp(addrThird, to.addr)...)...)
	}
	for _, src := range []netip.Addr{netip.MustParseAddr(lab.UplinkAddress), netip.MustParseAddr("198.51.100.7")} {
		add("DROP_SOURCE_IPV4", ethernet(i.own, i.gateway, layers.EthernetTypeIPv4), udp(src, addrOutside)...)
		add("DROP_SOURCE_IPV4", ethernet(i.own, layers.EthernetBroadcast, layers.EthernetTypeIPv4), udp(src, addrGateway)...)
	}
	for _, dst := range []net.HardwareAddr{layers.EthernetBroadcast, i.neighbor, i.gateway} {
		add("DROP_ARP_SENDER", ethernet(i.own, dst, layers.EthernetTypeARP), arp(layers.ARPReply, i.own, addrThird, i.neighbor, addrNS1))
		add("DROP_ARP_SENDER", ethernet(i.own, dst, layers.EthernetTypeARP), arp(layers.ARPRequest, i.own, addrGateway, i.neighbor, addrGateway))
	}
	return all
}

// The option is changed under stations, and plan says what happens to the bridge's ports.
func TestSourceGuardSwitched(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		guarded := strings.ReplaceAll(nested, ", source-guard: false", "")
		flyover(t, "up", "-f", configFile(t, nested))
		nestBridges(t)
		talk(t, "ns1", addrA)
		for _, step := range []struct {
			config, learning string
			reached          bool
		}{{guarded, "learning on -> off", false}, {nested, "learning off -> on", true}} {
			file := configFile(t, step.config)
			if plan := flyover(t, "plan", "-f", file); strings.Count(plan, step.learning) != 2 {
				t.Errorf("plan says\n%s", plan)
			}
			flyover(t, "up", "-f", file)
			if step.reached {
				talk(t, "ns1", addrA)
				continue
			}
			if out, err := try("ns1", "ping", "-c", "1", "-W", "1", addrA.String()); err == nil {
				t.Errorf("a guarded endpoint has stations behind it:\n%s", out)
			}
		}
	})
}
