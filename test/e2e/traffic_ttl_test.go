// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/lab"
)

// The gateway is one hop, and the network is none.
func TestTrafficTTL(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		atNS1, atNS2 := openCapture(t, "ns1", "veth-ns1"), openCapture(t, "ns2", "veth-ns2")
		atOutside := openCapture(t, outside, lab.OutsideInterface)
		for _, ttl := range []string{"2", "64", "255"} {
			run(t, "ns1", "ping", "-c", "1", "-W", "5", "-t", ttl, v.ns2.addr.String())
			run(t, "ns1", "ping", "-c", "1", "-W", "5", "-t", ttl, v.atOutside.addr.String())
		}
		run(t, "ns1", "ping", "-c", "1", "-W", "5", "-t", "1", v.ns2.addr.String())
		wantTTLs(t, "ns1 to ns2", atNS2.wait(t, "pings", 4, echoTo(v.ns2.addr)), 2, 64, 255, 1)
		wantTTLs(t, "ns1 to the outside", atOutside.wait(t, "pings", 3, echoTo(v.atOutside.addr)), 1, 63, 254)
		replies := atNS1.wait(t, "replies of the outside", 3, func(f frame) bool {
			return !f.Sent && between(v.atOutside.addr, v.ns1.addr)(f) && !neighbourDiscovery(f)
		})
		wantTTLs(t, "the outside to ns1", replies, 63, 63, 63)
	})
}

// quotedSource is the source of the packet that an ICMP error is about.
func quotedSource(f frame) netip.Addr {
	if icmp := f.ICMPv6(); icmp != nil && len(icmp.Payload) >= 4+40 { // behind a word that the types use
		return netip.AddrFrom16([16]byte(icmp.Payload[4+8 : 4+24]))
	}
	if icmp := f.ICMP(); icmp != nil && len(icmp.Payload) >= 28 {
		return netip.AddrFrom4([4]byte(icmp.Payload[12:16]))
	}
	return netip.Addr{}
}

func echoTo(dst netip.Addr) func(frame) bool {
	return func(f frame) bool {
		_, to := f.Addrs()
		return !f.Sent && to == dst && isICMP(f, layers.ICMPv4TypeEchoRequest, layers.ICMPv6TypeEchoRequest)
	}
}

// isICMP matches a type of ICMP, which is another one in ICMPv6.
func isICMP(f frame, four, six uint8) bool {
	if icmp := f.ICMPv6(); icmp != nil {
		return icmp.TypeCode.Type() == six
	}
	icmp := f.ICMP()
	return icmp != nil && icmp.TypeCode.Type() == four
}

func wantTTLs(t *testing.T, what string, frames []frame, want ...uint8) {
	t.Helper()
	for i, f := range frames {
		if i >= len(want) || f.TTL() != want[i] {
			t.Errorf("%s: TTLs should be %v; packet %d has %d", what, want, i, f.TTL())
		}
	}
}

// A packet that ends at the gateway is answered by it, about the packet as ns1 has sent it.
func TestTrafficTTLExceeded(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		atNS1, atOutside := openCapture(t, "ns1", "veth-ns1"), openCapture(t, outside, lab.OutsideInterface)
		if out, err := try("ns1", "ping", "-c", "1", "-W", "5", "-t", "1", v.atOutside.addr.String()); err == nil {
			t.Errorf("ping with TTL 1 is answered\n%s", out)
		}
		isExceeded := func(f frame) bool {
			return !f.Sent && isICMP(f, layers.ICMPv4TypeTimeExceeded, layers.ICMPv6TypeTimeExceeded)
		}
		f := atNS1.wait(t, "time exceeded", 1, isExceeded)[0]
		src, dst := f.Addrs()
		if src != v.gateway.addr || dst != v.ns1.addr || quotedSource(f) != v.ns1.addr {
			t.Errorf("ns1 received %s", f)
		}
		run(t, "ns1", "ping", "-c", "1", "-W", "5", v.atOutside.addr.String())
		if n := len(atOutside.wait(t, "ping", 1, echoTo(v.atOutside.addr))); n != 1 {
			t.Errorf("the outside saw %d pings, want the one with TTL enough", n)
		}
	})
}
