// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"net"
	"net/netip"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"flyover/test/lab"
)

// forgery is a kind of frame that ns1 must not get through, and why not.
type forgery struct {
	reason string
	frame  []gopacket.SerializableLayer
}

// Forged sources are dropped, counted by their reason, and seen by nobody. The incumbent has no such guard.
func TestTrafficSourceGuard(t *testing.T) {
	overEBPF(t, func(t *testing.T, _ variant) {
		run(t, "ns2", "ping", "-c", "1", "-W", "5", addrNS1.String())
		run(t, "ns1", "ping", "-c", "1", "-W", "5", addrOutside.String())
		atNS2, atOutside := openCapture(t, "ns2", "veth-ns2"), openCapture(t, outside, lab.OutsideInterface)
		known := neighbours(t)
		i := injectorInNS1(t)
		for reason, forgeries := range byReason(append(forgedIPv4(i), forgedARP(i)...)) {
			before := status(t)
			for _, f := range forgeries {
				i.send(t, f.frame...)
			}
			countedMore(t, before, "from_endpoint "+reason, uint64(len(forgeries)))
		}
		fence(t, atNS2)
		run(t, "ns1", "ping", "-c", "1", "-W", "5", addrOutside.String())
		isForged := func(f frame) bool { return bytes.Contains(f.Data(), []byte(marker)) || arpRequest(f) && fromInside(f) }
		atNS2.none(t, "forged packet", isForged)
		atOutside.none(t, "forged packet", isForged)
		if diff := cmp.Diff(known, neighbours(t)); diff != "" {
			t.Errorf("neighbour tables changed (-before +after)\n%s", diff)
		}
		injectedUnforged(t, i, atNS2)
	})
}

func byReason(all []forgery) map[string][]forgery {
	groups := map[string][]forgery{}
	for _, f := range all {
		groups[f.reason] = append(groups[f.reason], f)
	}
	return groups
}

// injectedUnforged shows that the same frames arrive if nothing in them is forged.
func injectedUnforged(t *testing.T, i injector, atNS2 *capture) {
	t.Helper()
	i.send(t, append([]gopacket.SerializableLayer{ethernet(i.own, i.neighbor, layers.EthernetTypeIPv4)}, udp(addrNS1, addrNS2)...)...)
	atNS2.wait(t, "marked packet", 1, func(f frame) bool { return !f.Sent && bytes.Contains(f.Data(), []byte(marker)) })
}

func forgedIPv4(i injector) []forgery {
	other := net.HardwareAddr{2, 0, 0, 0, 0, 0x77}
	var all []forgery
	add := func(reason string, eth *layers.Ethernet, packet ...gopacket.SerializableLayer) {
		all = append(all, forgery{reason, append([]gopacket.SerializableLayer{eth}, packet...)})
	}
	for _, to := range []struct {
		mac  net.HardwareAddr
		addr netip.Addr
	}{{i.neighbor, addrNS2}, {i.gateway, addrOutside}, {i.gateway, addrGateway}, {layers.EthernetBroadcast, addrNS2}} {
		for _, mac := range []net.HardwareAddr{other, i.neighbor, i.gateway} {
			add("DROP_SOURCE_MAC", ethernet(mac, to.mac, layers.EthernetTypeIPv4), udp(addrNS1, to.addr)...)
		}
		for _, src := range []netip.Addr{addrNS2, addrGateway, addrUnassigned, addrUplink, addrOutside, netip.IPv4Unspecified()} {
			if src == to.addr {
				continue
			}
			add("DROP_SOURCE_IPV4", ethernet(i.own, to.mac, layers.EthernetTypeIPv4), udp(src, to.addr)...)
		}
		tag := &layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeIPv4}
		add("DROP_VLAN", ethernet(i.own, to.mac, layers.EthernetTypeDot1Q),
			append([]gopacket.SerializableLayer{tag}, udp(addrNS2, to.addr)...)...)
	}
	return all
}

func forgedARP(i injector) []forgery {
	other := net.HardwareAddr{2, 0, 0, 0, 0, 0x77}
	var all []forgery
	add := func(reason string, src, dst net.HardwareAddr, a *layers.ARP) {
		all = append(all, forgery{reason, []gopacket.SerializableLayer{ethernet(src, dst, layers.EthernetTypeARP), a}})
	}
	for _, operation := range []uint16{layers.ARPRequest, layers.ARPReply} {
		for _, dst := range []net.HardwareAddr{layers.EthernetBroadcast, i.neighbor, i.gateway} {
			for _, sender := range []netip.Addr{addrGateway, addrUnassigned, addrNS2} {
				add("DROP_ARP_SENDER", i.own, dst, arp(operation, i.own, sender, i.neighbor, addrNS2))
			}
			add("DROP_ARP_SENDER", i.own, dst, arp(operation, other, addrNS1, i.neighbor, addrNS2))
			add("DROP_SOURCE_MAC", other, dst, arp(operation, i.own, addrNS1, i.neighbor, addrNS2))
			add("DROP_SOURCE_MAC", other, dst, arp(operation, other, addrGateway, i.neighbor, addrNS2))
		}
	}
	return all
}

var neighbourState = regexp.MustCompile(` (REACHABLE|STALE|DELAY|PROBE)\b| ref \d+| tentative| nodad`)

// neighbours is what the others know of addresses and MACs. Their states go on by themselves and are left out.
func neighbours(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, argv := range [][]string{
		{"ip", "-4", "-n", "ns2", "neigh", "show"}, {"ip", "-4", "neigh", "show"}, {"bridge", "fdb", "show", "br", "br1"},
	} {
		all = append(all, neighbourState.ReplaceAllString(run(t, "", argv...), ""))
	}
	return all
}
