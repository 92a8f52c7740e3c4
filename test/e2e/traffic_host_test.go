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
	overAll(t, func(t *testing.T, _ variant) {
		for _, to := range []place{inNS1, inNS2} {
			exchange(t, atGateway, to)
			exchange(t, to, atGateway)
			exchange(t, to, atUplink)
		}
	})
}

// The host's own traffic to the outside and back is nobody's business, also while endpoints have sessions with the same remote.
func TestTrafficHostToOutside(t *testing.T) {
	overAll(t, func(t *testing.T, v variant) {
		exchange(t, atUplink, atOutside)
		exchangeWithOutside(t)
		before := status(t)
		exchange(t, atUplink, atOutside)
		exchange(t, atOutside, atUplink)
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
	run(t, from.ns, "ping", "-c", "2", "-i", "0.01", "-W", "5", "-s", "4000", to.addr.String())
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
