// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"flyover/test/lab"
)

// bulk is long enough for full-size GSO packets.
const bulk = 4 << 20

// Large transfers, whose packets are up to 64 KiB long with offloads on and fill the MTU with offloads off.
func TestTrafficBulkToOutside(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		longest := bulkToOutside(t, v)
		if longest <= 1514 {
			t.Errorf("the longest packet had %d octets: no GSO, the test does not test it", longest)
		}
	})
}

func TestTrafficBulkWithoutOffloads(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		noOffloads(t)
		if longest := bulkToOutside(t, v); longest != 1514 {
			t.Errorf("the longest packet had %d octets, want 1514", longest)
		}
	})
}

// Offloads on at one end only: partial checksums and GSO packets meet interfaces that do not take them.
func TestTrafficBulkMixedOffloads(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		for _, end := range [][2]string{{"", lab.Uplink}, {"ns1", "veth-ns1"}, {"", "veth-ns1-br"}} {
			run(t, end[0], "ethtool", "-K", end[1], "tx", "off", "tso", "off", "gso", "off", "gro", "off")
			tcpTransfer(t, v.ns1, v.atOutside, bulk)
			tcpTransfer(t, v.ns1, v.ns2, bulk)
			run(t, end[0], "ethtool", "-K", end[1], "tx", "on", "tso", "on", "gso", "on")
		}
	})
}

// bulkToOutside transfers to the outside and back, from both namespaces, and returns the length of the longest packet there.
func bulkToOutside(t *testing.T, v variant) int {
	t.Helper()
	seen := openCapture(t, outside, lab.OutsideInterface)
	tcpTransfer(t, v.ns1, v.atOutside, bulk)
	tcpTransfer(t, v.ns2, v.atOutside, bulk)
	longest := 0
	for _, f := range seen.All(received) {
		if src, _ := f.Addrs(); src != v.uplink.addr {
			t.Fatalf("the outside saw %s", f)
		}
		longest = max(longest, len(f.Data()))
	}
	return longest
}
