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
	overAll(t, func(t *testing.T, _ variant) {
		atNS1, atNS2 := openCapture(t, "ns1", "veth-ns1"), openCapture(t, "ns2", "veth-ns2")
		atOutside := openCapture(t, outside, lab.OutsideInterface)
		for _, ttl := range []string{"2", "64", "255"} {
			run(t, "ns1", "ping", "-c", "1", "-W", "5", "-t", ttl, addrNS2.String())
			run(t, "ns1", "ping", "-c", "1", "-W", "5", "-t", ttl, addrOutside.String())
		}
		run(t, "ns1", "ping", "-c", "1", "-W", "5", "-t", "1", addrNS2.String())
		wantTTLs(t, "ns1 to ns2", atNS2.wait(t, "pings", 4, echoTo(addrNS2)), 2, 64, 255, 1)
		wantTTLs(t, "ns1 to the outside", atOutside.wait(t, "pings", 3, echoTo(addrOutside)), 1, 63, 254)
		replies := atNS1.wait(t, "replies of the outside", 3, func(f frame) bool { return !f.Sent && between(addrOutside, addrNS1)(f) })
		wantTTLs(t, "the outside to ns1", replies, 63, 63, 63)
	})
}

func echoTo(dst netip.Addr) func(frame) bool {
	return func(f frame) bool {
		icmp, ok := f.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		_, to := f.Addrs()
		return ok && !f.Sent && to == dst && icmp.TypeCode.Type() == layers.ICMPv4TypeEchoRequest
	}
}

func wantTTLs(t *testing.T, what string, frames []frame, want ...uint8) {
	t.Helper()
	for i, f := range frames {
		if i >= len(want) || f.IPv4().TTL != want[i] {
			t.Errorf("%s: TTLs should be %v; packet %d has %d", what, want, i, f.IPv4().TTL)
		}
	}
}

// A packet that ends at the gateway is answered by it, about the packet as ns1 has sent it.
func TestTrafficTTLExceeded(t *testing.T) {
	overAll(t, func(t *testing.T, _ variant) {
		atNS1, atOutside := openCapture(t, "ns1", "veth-ns1"), openCapture(t, outside, lab.OutsideInterface)
		if out, err := try("ns1", "ping", "-c", "1", "-W", "5", "-t", "1", addrOutside.String()); err == nil {
			t.Errorf("ping with TTL 1 is answered\n%s", out)
		}
		isExceeded := func(f frame) bool {
			icmp, ok := f.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			return ok && !f.Sent && icmp.TypeCode.Type() == layers.ICMPv4TypeTimeExceeded
		}
		f := atNS1.wait(t, "time exceeded", 1, isExceeded)[0]
		src, dst := f.Addrs()
		quoted := f.Layer(layers.LayerTypeICMPv4).LayerPayload()
		if src != addrGateway || dst != addrNS1 || len(quoted) < 28 || netip.AddrFrom4([4]byte(quoted[12:16])) != addrNS1 {
			t.Errorf("ns1 received %s", f)
		}
		run(t, "ns1", "ping", "-c", "1", "-W", "5", addrOutside.String())
		if n := len(atOutside.wait(t, "ping", 1, echoTo(addrOutside))); n != 1 {
			t.Errorf("the outside saw %d pings, want the one with TTL enough", n)
		}
	})
}
