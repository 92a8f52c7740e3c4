// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"testing"
)

// checkPings pings with nothing, with what fills a packet, with one octet more, and with the most that IPv4 has.
func checkPings(_ *testing.T, h *host) {
	h.upDefault()
	for _, ping := range []struct{ name, namespace, to string }{
		{"ns1 to the gateway", "ns1", addrGateway},
		{"ns2 to the gateway", "ns2", addrGateway},
		{"ns1 to the uplink's address", "ns1", addrUplink},
		{"ns2 to the uplink's address", "ns2", addrUplink},
		{"the outside to the uplink's address", outside, addrUplink},
		{"the host to ns1", "", addrNS1},
		{"the host to ns2", "", addrNS2},
	} {
		h.part(ping.name, func() {
			for _, size := range []string{"0", "1472", "1473", "65507"} {
				if out, err := h.try(ping.namespace, "ping", "-c", "1", "-W", "2", "-s", size, ping.to); err != nil {
					h.t.Log(out)
					h.Failf("no answer to a ping of %s octets", size)
				}
			}
		})
	}
}
