// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"testing"
)

// The host's places: its addresses on the network and on the uplink.
var (
	atGateway = place{"", addrGateway}
	atUplink  = place{"", addrUplink}
)

// The host and its endpoints reach each other by both of the host's addresses, unaltered.
func TestTrafficHost(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		for _, to := range []place{v.ns1, v.ns2} {
			exchange(t, v.gateway, to)
			exchange(t, to, v.gateway)
			exchange(t, to, v.uplink)
		}
	})
}

// The host's own traffic to the outside and back is nobody's business, also while endpoints have sessions with the same remote.
func TestTrafficHostToOutside(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		exchange(t, v.uplink, v.atOutside)
		exchangeWithOutside(t, v)
		before := status(t)
		exchange(t, v.uplink, v.atOutside)
		exchange(t, v.atOutside, v.uplink)
		if !v.ebpf {
			return
		}
		after := status(t)
		for _, reason := range []string{"FORWARD_INSIDE", "to_uplink PASS_TO_UPLINK"} {
			if n := counted(after, reason) - counted(before, reason); n > 0 {
				t.Errorf("%d of the host's packets counted as %s", n, reason)
			}
		}
	})
}

// exchange pings, and sends by UDP and TCP, and wants to be seen as it is.
func exchange(t *testing.T, from, to place) {
	t.Helper()
	for _, size := range []string{"4000", "65507"} {
		run(t, from.ns, "ping", "-c", "2", "-i", "0.01", "-W", "5", "-s", size, to.addr.String())
	}
	echo := netip.AddrPortFrom(to.addr, udpEcho(t, to, func(seen netip.AddrPort) {
		if seen.Addr() != from.addr {
			t.Errorf("%s to %s: seen as %s", from.addr, to.addr, seen)
		}
	}))
	for _, size := range []int{1, 1472, 9000} {
		if err := udpAsk(t, from, echo, payload(size)); err != nil {
			t.Errorf("%s to %s: UDP of %d octets: %v", from.addr, to.addr, size, err)
		}
	}
	tcpTransfer(t, from, to, 1<<20)
}
