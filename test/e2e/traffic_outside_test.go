// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"flyover/test/lab"
)

// From inside to the outside: everything arrives as the uplink's address, and answers come back.
func TestTrafficMasquerade(t *testing.T) {
	overAll(t, func(t *testing.T, _ variant) {
		noOffloads(t)
		atOutside := openCapture(t, outside, lab.OutsideInterface)
		exchangeWithOutside(t)
		for _, f := range atOutside.wait(t, "packets from the uplink", 20, received) {
			if src, dst := f.Addrs(); src != addrUplink || dst != addrOutside {
				t.Errorf("the outside saw %s to %s: %s", src, dst, f)
			}
			checksumsHold(t, f)
		}
		atOutside.none(t, "inside address", func(f frame) bool { return !f.Sent && fromInside(f) })
	})
}

// The answers' checksums, seen inside.
func TestTrafficMasqueradeBack(t *testing.T) {
	overAll(t, func(t *testing.T, _ variant) {
		noOffloads(t)
		atNS1 := openCapture(t, "ns1", "veth-ns1")
		exchangeWithOutside(t)
		for _, f := range atNS1.wait(t, "packets from the outside", 10, received) {
			if src, dst := f.Addrs(); src != addrOutside || dst != addrNS1 {
				t.Errorf("ns1 saw %s to %s: %s", src, dst, f)
			}
			checksumsHold(t, f)
		}
	})
}

// exchangeWithOutside makes both namespaces ping, and send over UDP and TCP, and wants all of it answered.
func exchangeWithOutside(t *testing.T) {
	t.Helper()
	echo := netip.AddrPortFrom(addrOutside, udpEcho(t, atOutside, func(from netip.AddrPort) {
		if from.Addr() != addrUplink {
			t.Errorf("UDP from %s", from)
		}
	}))
	for _, from := range []place{inNS1, inNS2} {
		for _, size := range []int{0, 1, 56, 1472} {
			run(t, from.ns, "ping", "-c", "2", "-i", "0.01", "-W", "5", "-s", fmt.Sprint(size), addrOutside.String())
		}
		for _, size := range []int{0, 1, 2, 999, 1000, 1472} {
			if err := udpAsk(t, from, echo, payload(size)); err != nil {
				t.Errorf("UDP of %d octets from %s: %v", size, from.ns, err)
			}
		}
		for _, size := range []int{1, 1000, 1448, 65507} {
			tcpTransfer(t, from, atOutside, size)
		}
	}
}

// checksumsHold verifies IPv4, ICMP, UDP and TCP checksums. They are complete only with noOffloads.
func checksumsHold(t *testing.T, f frame) {
	t.Helper()
	if pseudo, ok := f.TransportLayer().(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		if err := pseudo.SetNetworkLayerForChecksum(f.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
	}
	err, wrong := f.VerifyChecksums()
	if err != nil || len(wrong) > 0 {
		t.Fatalf("checksums %v, error %v: %s", wrong, err, f)
	}
	if f.TransportLayer() == nil && f.IPv4().Protocol != layers.IPProtocolICMPv4 {
		t.Fatalf("no transport header: %s", f)
	}
}

// ends are all interfaces that packets to the outside pass.
var ends = [][2]string{
	{"ns1", "veth-ns1"}, {"ns2", "veth-ns2"}, {"", "veth-ns1-br"}, {"", "veth-ns2-br"},
	{"", lab.Uplink}, {outside, lab.OutsideInterface},
}

// noOffloads makes the sender compute checksums and cut segments, so that what is captured is what a wire would carry.
func noOffloads(t *testing.T) {
	t.Helper()
	for _, end := range ends {
		run(t, end[0], "ethtool", "-K", end[1], "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off")
	}
}
