// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

// solicit asks for the target, from the source, which it says is at a MAC.
func (a *attack) solicit(to net.HardwareAddr, source, destination netip.Addr, x []extension, target netip.Addr, mac net.HardwareAddr) {
	a.Helper()
	a.sendICMP6(to, source, destination, x, layers.ICMPv6TypeNeighborSolicitation, &layers.ICMPv6NeighborSolicitation{
		TargetAddress: target.AsSlice(), Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: mac}},
	})
}

// advertise says, and overrides what others have said, that the target is at a MAC.
func (a *attack) advertise(to net.HardwareAddr, source, destination netip.Addr, x []extension, target netip.Addr, mac net.HardwareAddr) {
	a.Helper()
	const override = 0x20
	a.sendICMP6(to, source, destination, x, layers.ICMPv6TypeNeighborAdvertisement, &layers.ICMPv6NeighborAdvertisement{
		Flags: override, TargetAddress: target.AsSlice(), Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}},
	})
}

func solicitedNode(addr netip.Addr) netip.Addr {
	group, _ := packet.SolicitedNode(addr)
	return group
}

// Neither the gateway nor a neighbour can be impersonated by neighbour discovery, to a neighbour or to the host.
func TestAttackNDSpoofing(t *testing.T) {
	attacksSix(t, func(a *attack) {
		ways := map[string]struct {
			reason string // if the message is nothing but a message
			send   func(victim place, mac net.HardwareAddr, claimed netip.Addr, x []extension)
		}{
			"advertisement": {"DROP_ND_TARGET", func(victim place, mac net.HardwareAddr, claimed netip.Addr, x []extension) {
				a.advertise(mac, ns1Six.addr, victim.addr, x, claimed, a.own)
			}},
			"advertisement to all": {"DROP_ND_TARGET", func(victim place, _ net.HardwareAddr, claimed netip.Addr, x []extension) {
				a.advertise(allNodesMAC, linkLocal(a.own), allNodes, x, claimed, a.own)
			}},
			"advertisement from the claimed": {"DROP_SOURCE_IPV6", func(victim place, mac net.HardwareAddr, claimed netip.Addr, x []extension) {
				a.advertise(mac, claimed, victim.addr, x, claimed, a.own)
			}},
			"solicitation from the claimed": {"DROP_SOURCE_IPV6", func(victim place, mac net.HardwareAddr, claimed netip.Addr, x []extension) {
				a.solicit(mac, claimed, victim.addr, x, victim.addr, a.own)
			}},
			"solicitation from the claimed to all": {"DROP_SOURCE_IPV6", func(victim place, _ net.HardwareAddr, claimed netip.Addr, x []extension) {
				a.solicit(allNodesMAC, claimed, allNodes, x, victim.addr, a.own)
			}},
		}
		for _, spoof := range []struct {
			victim  place
			mac     net.HardwareAddr
			claimed place
		}{{ns2Six, a.neighbor, gatewaySix}, {ns2Six, a.neighbor, ns3Six}, {gatewaySix, a.gateway, ns2Six}} {
			for name, way := range ways {
				for _, x := range hidings {
					reason := way.reason
					if x != nil && reason != "DROP_SOURCE_IPV6" {
						reason = "DROP_ND_MALFORMED"
					}
					// An advertisement is for who knows the address already.
					run(a.T, spoof.victim.ns, "ping", "-c", "1", "-W", "5", spoof.claimed.addr.String())
					send := func() { way.send(spoof.victim, spoof.mac, spoof.claimed.addr, x) }
					if a.ebpf { // the neighbour tables are looked at in the end
						a.refused(reason, 1, send)
						continue
					}
					a.impersonates(fmt.Sprintf("%s behind %v", name, x), spoof.victim, spoof.claimed, send)
				}
			}
		}
	})
}

// impersonates repeats what makes the victim send to the attacker what is for the claimed, who may put it right meanwhile, and mends it.
func (a *attack) impersonates(what string, victim, claimed place, send func()) {
	a.Helper()
	show := []string{"ip", "-6", "neigh", "show", claimed.addr.String()}
	until(a.T, fmt.Sprintf("%s: %s is the attacker to %q", what, claimed.addr, victim.ns), func() bool {
		send()
		return strings.Contains(run(a.T, victim.ns, show...), a.own.String())
	})
	device := "br1"
	if victim.ns != "" {
		device = "veth-" + victim.ns
	}
	run(a.T, victim.ns, "ip", "-6", "neigh", "flush", "dev", device)
}

// An endpoint is no router: it gives nobody routes or addresses.
func TestAttackRouterAdvertisement(t *testing.T) {
	attacksSix(t, func(a *attack) {
		prefix := append([]byte{64, 0xc0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, netip.MustParseAddr("fd66::").AsSlice()...)
		message := &layers.ICMPv6RouterAdvertisement{HopLimit: 64, RouterLifetime: 1800, Options: layers.ICMPv6Options{
			{Type: layers.ICMPv6OptSourceAddress, Data: a.own}, {Type: layers.ICMPv6OptPrefixInfo, Data: prefix},
		}}
		for _, victim := range []struct {
			ns, device string
			mac        net.HardwareAddr
			addr       netip.Addr
		}{{"ns2", "veth-ns2", a.neighbor, ns2Six.addr}, {"", "br1", a.gateway, gatewaySix.addr}, {"ns2", "veth-ns2", allNodesMAC, allNodes}} {
			for _, x := range hidings {
				a.refused("DROP_ND_ROUTER", 1, func() {
					a.sendICMP6(victim.mac, linkLocal(a.own), victim.addr, x, layers.ICMPv6TypeRouterAdvertisement, message)
				})
				a.works(fmt.Sprintf("a default route and an address of the attacker behind %v in %q", x, victim.ns), func() bool {
					route := run(a.T, victim.ns, "ip", "-6", "route", "show", "default", "dev", victim.device)
					addr := run(a.T, victim.ns, "ip", "-6", "addr", "show", "dev", victim.device)
					return strings.Contains(route, "via "+linkLocal(a.own).String()) && strings.Contains(addr, "inet6 fd66::")
				})
				if !a.ebpf { // the victim forgets it
					try(victim.ns, "ip", "-6", "route", "del", "default", "via", linkLocal(a.own).String(), "dev", victim.device)
					try(victim.ns, "ip", "-6", "addr", "flush", "dev", victim.device, "to", "fd66::/64")
				}
			}
		}
	})
}

// No redirect moves the victim's traffic.
func TestAttackIPv6Redirect(t *testing.T) {
	attacksSix(t, func(a *attack) {
		// The kernel believes the router that it has a route by alone, and by its link-local address alone.
		run(a.T, "ns2", "ip", "-6", "route", "add", outsideSix.addr.String(), "via", linkLocal(a.gateway).String(), "dev", "veth-ns2")
		run(a.T, "ns2", "ping", "-c", "1", "-W", "5", outsideSix.addr.String())
		redirected := func() bool {
			return strings.Contains(run(a.T, "ns2", "ip", "-6", "route", "get", outsideSix.addr.String()), linkLocal(a.own).String())
		}
		for _, source := range []struct {
			addr   netip.Addr
			reason string
		}{{linkLocal(a.gateway), "DROP_SOURCE_IPV6"}, {linkLocal(a.own), "DROP_ND_ROUTER"}} {
			for _, x := range hidings {
				a.refused(source.reason, 1, func() {
					a.sendICMP6(a.neighbor, source.addr, ns2Six.addr, x, layers.ICMPv6TypeRedirect, &layers.ICMPv6Redirect{
						TargetAddress: linkLocal(a.own).AsSlice(), DestinationAddress: outsideSix.addr.AsSlice(),
						Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: a.own}},
					})
				})
				if source.addr != linkLocal(a.own) {
					a.works(fmt.Sprintf("a redirect behind %v", x), redirected)
				}
				if a.ebpf && redirected() {
					a.Errorf("redirected behind %v", x)
				}
				run(a.T, "ns2", "ip", "-6", "route", "flush", "cache")
			}
		}
		run(a.T, "ns2", "ip", "-6", "route", "del", outsideSix.addr.String())
	})
}

// Nobody can keep another from its address by saying that it has it.
func TestAttackDADDenial(t *testing.T) {
	attacksSix(t, func(a *attack) {
		seen := openCapture(a.T, "ns1", "veth-ns1")
		probe := func(f frame) bool {
			return !f.Sent && isICMP(f, 0, layers.ICMPv6TypeNeighborSolicitation) && bytes.Contains(f.Data(), ns2Six.addr.AsSlice())
		}
		addr := func() string { return run(a.T, "ns2", "ip", "-6", "addr", "show", "to", ns2Six.addr.String()) }
		run(a.T, "ns2", "ip", "addr", "del", ns2Six.addr.String()+"/64", "dev", "veth-ns2")
		run(a.T, "ns2", "ip", "addr", "add", ns2Six.addr.String()+"/64", "dev", "veth-ns2")
		if !strings.Contains(addr(), "tentative") {
			a.Fatalf("no duplicate address detection: %s", addr())
		}
		until(a.T, "the end of duplicate address detection", func() bool {
			if a.ebpf || len(seen.All(probe)) > 0 {
				for _, x := range hidings {
					a.advertise(allNodesMAC, ns1Six.addr, allNodes, x, ns2Six.addr, a.own)
					a.probe(x, ns2Six.addr)
				}
			}
			return !strings.Contains(addr(), "tentative") || strings.Contains(addr(), "dadfailed")
		})
		if failed := strings.Contains(addr(), "dadfailed"); failed == a.ebpf {
			a.Errorf("the victim's address: %s", addr())
		}
		if a.ebpf {
			seen.none(a.T, "probe of the victim", probe)
		}
	})
}

// probe asks for the target as if it were to be the attacker's own.
func (a *attack) probe(x []extension, target netip.Addr) {
	a.Helper()
	a.sendICMP6(allNodesMAC, netip.IPv6Unspecified(), solicitedNode(target), x, layers.ICMPv6TypeNeighborSolicitation,
		gopacket.Payload(append(make([]byte, 4), target.AsSlice()...)))
}

// In pieces, a message has no more power: not even if its type is in another fragment than the first, which has to have all headers.
func TestAttackNDInFragments(t *testing.T) {
	attacksSix(t, func(a *attack) {
		for cut, reason := range map[int]string{0: "DROP_TRANSPORT", 8: "DROP_ND_MALFORMED", 24: "DROP_ND_MALFORMED"} {
			run(a.T, "ns2", "ping", "-c", "1", "-W", "5", gatewaySix.addr.String())
			send := func() { a.advertiseInFragments(cut, gatewaySix.addr) }
			if a.ebpf {
				a.refused(reason, 1, send)
				continue
			}
			if cut > 0 { // otherwise Linux refuses it, too (RFC 7112)
				a.impersonates(fmt.Sprintf("cut at octet %d", cut), ns2Six, gatewaySix, send)
			}
		}
	})
}

// advertiseInFragments tells ns2 that the attacker is the claimed, the message being behind options and cut in two.
func (a *attack) advertiseInFragments(cut int, claimed netip.Addr) {
	a.Helper()
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolIPv6Fragment, SrcIP: ns1Six.addr.AsSlice(), DstIP: ns2Six.addr.AsSlice()}
	header := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
	_ = header.SetNetworkLayerForChecksum(ip)
	message := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(message, gopacket.SerializeOptions{ComputeChecksums: true}, header, &layers.ICMPv6NeighborAdvertisement{
		Flags: 0x20, TargetAddress: claimed.AsSlice(), Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: a.own}},
	}); err != nil {
		a.Fatal(err)
	}
	all := append([]byte{byte(layers.IPProtocolICMPv6), 0, 1, 4, 0, 0, 0, 0}, message.Bytes()...)
	cut += 8
	id := rand.Uint32()
	for _, piece := range []struct {
		offset int // and whether more follow
		data   []byte
	}{{1, all[:cut]}, {cut, all[cut:]}} {
		fragment := gopacket.Payload{byte(layers.IPProtocolIPv6Destination), 0, 0, byte(piece.offset)}
		fragment = append(binary.BigEndian.AppendUint32(fragment, id), piece.data...)
		a.send(a.T, ethernet(a.own, a.neighbor, layers.EthernetTypeIPv6), ip, fragment)
	}
}
