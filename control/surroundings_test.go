// SPDX-License-Identifier: Apache-2.0

package control

import (
	"net/netip"
	"testing"
)

// A network has nothing in common with an uplink, but, if the host answers for it there, a part of the IPv6 subnet with neither the host nor a
// router in it.
func TestInCommon(t *testing.T) {
	addrs := []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24"), netip.MustParsePrefix("2001:db8:ffff::2/64")}
	routers := []netip.Addr{netip.MustParseAddr("fe80::1"), netip.MustParseAddr("2001:db8:ffff::1:1")}
	for _, test := range []struct {
		subnet  string
		proxied bool
		want    string
	}{
		{"192.168.15.0/24", false, ""},
		{"203.0.112.0/22", false, "address 203.0.113.2/24"},
		{"203.0.113.64/26", true, "address 203.0.113.2/24"},
		{"fd00:15::/64", false, ""},
		{"2001:db8:ffff:0:15::/80", false, "address 2001:db8:ffff::2/64"},
		{"2001:db8:ffff:0:15::/80", true, ""},
		{"2001:db8:ffff::/64", true, "address 2001:db8:ffff::2/64"},
		{"2001:db8:ffff::/120", true, "address 2001:db8:ffff::2/64"},
		{"2001:db8:ffff::1:0/112", true, "router 2001:db8:ffff::1:1"},
	} {
		if got := inCommon(netip.MustParsePrefix(test.subnet), test.proxied, addrs, routers); got != test.want {
			t.Errorf("%s, proxied %v: %q, want %q", test.subnet, test.proxied, got, test.want)
		}
	}
}
