// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"flyover/test/lab"
)

// From inside to the outside: everything arrives as the uplink's address, and answers come back.
func TestTrafficMasquerade(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		noOffloads(t)
		atOutside := openCapture(t, outside, lab.OutsideInterface)
		exchangeWithOutside(t, v)
		for _, f := range atOutside.wait(t, "packets from the uplink", 20, received) {
			if src, dst := f.Addrs(); src != v.uplink.addr || dst != v.atOutside.addr {
				t.Errorf("the outside saw %s to %s: %s", src, dst, f)
			}
			checksumsHold(t, f)
		}
		atOutside.none(t, "inside address", func(f frame) bool { return !f.Sent && fromInside(f) })
	})
}

// The answers' checksums, seen inside.
func TestTrafficMasqueradeBack(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		noOffloads(t)
		atNS1 := openCapture(t, "ns1", "veth-ns1")
		exchangeWithOutside(t, v)
		for _, f := range atNS1.wait(t, "packets from the outside", 10, received) {
			if src, dst := f.Addrs(); src != v.atOutside.addr || dst != v.ns1.addr {
				t.Errorf("ns1 saw %s to %s: %s", src, dst, f)
			}
			checksumsHold(t, f)
		}
	})
}

// exchangeWithOutside makes both namespaces ping, and send over UDP and TCP, and wants all of it answered.
func exchangeWithOutside(t *testing.T, v variant) {
	t.Helper()
	echo := netip.AddrPortFrom(v.atOutside.addr, udpEcho(t, v.atOutside, func(from netip.AddrPort) {
		if from.Addr() != v.uplink.addr {
			t.Errorf("UDP from %s", from)
		}
	}))
	for _, from := range []place{v.ns1, v.ns2} {
		for _, size := range []int{0, 1, 56, v.mtu, v.mtu + 1, v.most} {
			run(t, from.ns, "ping", "-c", "2", "-i", "0.01", "-W", "5", "-s", fmt.Sprint(size), v.atOutside.addr.String())
		}
		for _, size := range []int{0, 1, 2, 999, 1000, v.mtu, v.mtu + 1, v.most} {
			if err := udpAsk(t, from, echo, payload(size)); err != nil {
				t.Errorf("UDP of %d octets from %s: %v", size, from.ns, err)
			}
		}
		for _, size := range []int{1, 1000, 1448, 65507, 1 << 20} {
			tcpTransfer(t, from, v.atOutside, size)
		}
	}
}

// checksumsHold verifies all checksums. They are complete only with noOffloads.
func checksumsHold(t *testing.T, f frame) {
	t.Helper()
	if wrong := f.WrongChecksum(); wrong != "" || f.Partial {
		t.Fatalf("checksum %q, left to a later hop: %t: %s", wrong, f.Partial, f)
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
