// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// Neither the gateway nor a neighbour can be impersonated by ARP: not by requests, replies or announcements, to one or to everybody.
func TestAttackARPSpoofing(t *testing.T) {
	attacks(t, func(a *attack) {
		victims := []netip.Addr{addrGateway, addrNS3}
		sent := 2 * 2 * 2 * len(victims)
		a.refused("DROP_ARP_SENDER", sent, func() {
			for _, claimed := range victims {
				for _, operation := range []uint16{layers.ARPRequest, layers.ARPReply} {
					for _, to := range []net.HardwareAddr{a.neighbor, layers.EthernetBroadcast} {
						a.claim(operation, to, claimed, addrNS2)
						a.claim(operation, to, claimed, claimed) // gratuitous
					}
				}
			}
		})
		for _, claimed := range victims {
			a.works(claimed.String()+" is impersonated", func() bool {
				return strings.Contains(run(a.T, "ns2", "ip", "neigh", "show", claimed.String()), a.own.String())
			})
		}
	})
}

func (a *attack) claim(operation uint16, to net.HardwareAddr, claimed, target netip.Addr) {
	a.Helper()
	a.send(a.T, ethernet(a.own, to, layers.EthernetTypeARP), arp(operation, a.own, claimed, a.neighbor, target))
}

// Frames from many MACs do not fill the bridge's FDB, which is what makes it a hub. flyover lets no port learn, whatever the datapath, so
// that the kernel's has to be told to be as it is by default.
func TestAttackMACFlooding(t *testing.T) {
	attacks(t, func(a *attack) {
		const frames = 2000
		if !a.ebpf {
			run(a.T, "", "bridge", "link", "set", "dev", "veth-ns1-br", "learning", "on")
		}
		a.refused("DROP_SOURCE_MAC", frames, func() {
			for n := range frames {
				from := net.HardwareAddr{2, 0xaa, 0, 0, byte(n >> 8), byte(n)}
				a.sendUDP(from, a.neighbor, netip.AddrPortFrom(addrNS1, 4000), netip.AddrPortFrom(addrNS2, 4001))
			}
		})
		a.works("the FDB is flooded", func() bool {
			return strings.Count(run(a.T, "", "bridge", "fdb", "show", "br", "br1"), "02:aa:00:00") == frames
		})
	})
}

// A datagram with another endpoint's address reaches neither a neighbour nor the outside.
func TestAttackSourceSpoofing(t *testing.T) {
	attacks(t, func(a *attack) {
		for _, end := range []struct {
			place
			mac net.HardwareAddr
		}{{inNS2, a.neighbor}, {atOutside, a.gateway}} {
			conn := udpAt(a.T, end.place, 0)
			port := portOf(conn.LocalAddr())
			a.refused("DROP_SOURCE_IPV4", 1, func() {
				a.sendUDP(a.own, end.mac, netip.AddrPortFrom(addrNS3, 4000), netip.AddrPortFrom(end.addr, port))
			})
			a.reaches("a forged datagram in "+end.ns, conn)
		}
	})
}

// A DHCP offer of an endpoint reaches no client, in a broadcast or to it alone.
func TestAttackDHCPServer(t *testing.T) {
	attacks(t, func(a *attack) {
		everybody := netip.AddrFrom4([4]byte{255, 255, 255, 255})
		for _, to := range []struct {
			mac  net.HardwareAddr
			addr netip.Addr
		}{{layers.EthernetBroadcast, everybody}, {a.neighbor, everybody}, {a.neighbor, addrNS2}} {
			conn := udpAt(a.T, place{"ns2", netip.IPv4Unspecified()}, 68)
			a.refused("DROP_DHCP_SERVER", 1, func() { a.sendUDP(a.own, to.mac, netip.AddrPortFrom(addrNS1, 67), netip.AddrPortFrom(to.addr, 68)) })
			a.reaches("an offer", conn)
			conn.Close()
		}
	})
}

// Scanning the subnet, by ARP and by way of the gateway, leaves nothing in the host's neighbour table.
func TestAttackScan(t *testing.T) {
	attacks(t, func(a *attack) {
		const first, last = 20, 219
		scan := func(probe func(netip.Addr)) func() {
			return func() {
				for n := first; n <= last; n++ {
					probe(netip.AddrFrom4([4]byte{192, 168, 15, byte(n)}))
				}
			}
		}
		a.refused("DROP_ARP_TARGET", last-first+1, scan(func(target netip.Addr) {
			a.send(a.T, ethernet(a.own, layers.EthernetBroadcast, layers.EthernetTypeARP),
				arp(layers.ARPRequest, a.own, addrNS1, make(net.HardwareAddr, 6), target))
		}))
		a.refused("DROP_UNASSIGNED", last-first+1, scan(func(target netip.Addr) {
			a.sendUDP(a.own, a.gateway, netip.AddrPortFrom(addrNS1, 4000), netip.AddrPortFrom(target, 4001))
		}))
		a.works("the host's neighbour table is filled", func() bool {
			return strings.Count(run(a.T, "", "ip", "neigh", "show", "dev", "br1"), "\n") > (last-first)/2
		})
	})
}

// A storm of one endpoint does not reach the others, apart from what it may send a second.
func TestAttackBroadcastStorm(t *testing.T) {
	attacks(t, func(a *attack) {
		const frames, most = 5000, 4000
		seen := openCapture(a.T, "ns2", "veth-ns2")
		storm := func(f frame) bool { return !f.Sent && f.UDP() != nil && f.UDP().DstPort == 4001 }
		for range frames {
			a.sendUDP(a.own, layers.EthernetBroadcast, netip.AddrPortFrom(addrNS1, 4000), netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 15, 255}), 4001))
		}
		a.works("the storm has arrived", func() bool { return len(seen.All(storm)) == frames })
		if !a.ebpf {
			return
		}
		a.talks()
		if n := len(seen.All(storm)); n < 100 || n > most {
			a.Errorf("%d frames of %d have arrived", n, frames)
		}
		if counted(status(a.T), "from_endpoint DROP_LIMIT_FLOOD") < frames-most {
			a.Error("the others are not counted")
		}
	})
}
