// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

// extension is a kind of IPv6 extension header, one that says nothing.
type extension layers.IPProtocol

const (
	destinationOptions = extension(layers.IPProtocolIPv6Destination)
	atomicFragment     = extension(layers.IPProtocolIPv6Fragment) // the only one of its packet
)

// hidings are what a message may be behind, to be overlooked.
var hidings = [][]extension{nil, {destinationOptions}, {atomicFragment}, {destinationOptions, atomicFragment, destinationOptions}}

// sendSix sends an IPv6 packet, with a right checksum and the hop limit that no router has touched.
func (a *attack) sendSix(from, to net.HardwareAddr, source, destination netip.Addr, extensions []extension, proto layers.IPProtocol,
	header gopacket.SerializableLayer, behind ...gopacket.SerializableLayer,
) {
	a.Helper()
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: proto, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
	_ = header.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}).SetNetworkLayerForChecksum(ip)
	all := []gopacket.SerializableLayer{ethernet(from, to, layers.EthernetTypeIPv6), ip}
	for i, x := range extensions {
		all[1].(*layers.IPv6).NextHeader = layers.IPProtocol(extensions[0])
		next := proto
		if i+1 < len(extensions) {
			next = layers.IPProtocol(extensions[i+1])
		}
		octets := gopacket.Payload{byte(next), 0, 1, 4, 0, 0, 0, 0} // options: PadN of all
		if x == atomicFragment {
			octets[2], octets[3] = 0, 0
		}
		all = append(all, octets)
	}
	a.send(a.T, append(append(all, header), behind...)...)
}

// sendICMP6 sends a message of the type, with what is behind its checksum.
func (a *attack) sendICMP6(to net.HardwareAddr, source, destination netip.Addr, extensions []extension, kind uint8, body gopacket.SerializableLayer) {
	a.Helper()
	header := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	a.sendSix(a.own, to, source, destination, extensions, layers.IPProtocolICMPv6, header, body)
}

// linkLocal is the address that a MAC makes.
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return packet.LinkLocal(packet.MAC(mac))
}

// A datagram with another's address reaches neither a neighbour nor the outside.
func TestAttackIPv6SourceSpoofing(t *testing.T) {
	attacksSix(t, func(a *attack) {
		sources := []netip.Addr{ns3Six.addr, netip.MustParseAddr("fd00:15::77"), netip.MustParseAddr("2001:db8:77::1")}
		for _, end := range []struct {
			place
			mac net.HardwareAddr
		}{{ns2Six, a.neighbor}, {outsideSix, a.gateway}} {
			for _, source := range sources {
				if end.place == outsideSix && source != ns3Six.addr {
					continue // the kernel has no way back, and does not translate what is of no subnet
				}
				conn := udpAt(a.T, end.place, 0)
				a.refused("DROP_SOURCE_IPV6", len(hidings), func() {
					for _, x := range hidings {
						a.sendUDP(a.own, end.mac, netip.AddrPortFrom(source, 4000), netip.AddrPortFrom(end.addr, portOf(conn.LocalAddr())), x...)
					}
				})
				a.reaches(fmt.Sprintf("a datagram from %s in %q", source, end.ns), conn)
			}
		}
	})
}

// An answer of a DHCPv6 server reaches no client.
func TestAttackDHCPv6Server(t *testing.T) {
	attacksSix(t, func(a *attack) {
		for _, from := range []netip.Addr{ns1Six.addr, linkLocal(a.own)} {
			for _, to := range []netip.Addr{ns2Six.addr, linkLocal(a.neighbor)} {
				for _, x := range hidings {
					conn := udpAt(a.T, place{"ns2", netip.IPv6Unspecified()}, 546)
					a.refused("DROP_DHCP_SERVER", 1, func() {
						a.sendUDP(a.own, a.neighbor, netip.AddrPortFrom(from, 547), netip.AddrPortFrom(to, 546), x...)
					})
					a.reaches(fmt.Sprintf("an answer from %s to %s behind %v", from, to, x), conn)
					conn.Close()
				}
			}
		}
	})
}

// Scanning the subnet leaves nothing in the host's neighbour table.
func TestAttackIPv6Scan(t *testing.T) {
	attacksSix(t, func(a *attack) {
		const first, last = 0x1000, 0x10ff
		scan := func(probe func(target netip.Addr)) func() {
			return func() {
				for n := first; n <= last; n++ {
					probe(netip.MustParseAddr(fmt.Sprintf("fd00:15::%x", n)))
				}
			}
		}
		a.refused("DROP_ND_TARGET", last-first+1, scan(func(target netip.Addr) {
			a.solicit(allNodesMAC, ns1Six.addr, solicitedNode(target), nil, target, a.own)
		}))
		a.refused("DROP_UNASSIGNED", last-first+1, scan(func(target netip.Addr) {
			a.sendUDP(a.own, a.gateway, netip.AddrPortFrom(ns1Six.addr, 4000), netip.AddrPortFrom(target, 4001))
		}))
		a.works("the host's neighbour table is filled", func() bool {
			return strings.Count(run(a.T, "", "ip", "-6", "neigh", "show", "dev", "br1"), "fd00:15::10") > (last-first)/2
		})
	})
}
