// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"flyover/test/lab/labtest"
)

// proxied is a part of the uplink's own subnet.
const proxied = `networks:
  - name: br1
    subnets: ["2001:db8:ffff:0:15::/80"]
    gateway: "2001:db8:ffff:0:15::10"
    masquerade: false
    nd-proxy: true
    endpoints:
      - {namespace: ns1, addresses: ["2001:db8:ffff:0:15::1"]}
      - {namespace: ns2, addresses: ["2001:db8:ffff:0:15::2"]}
`

// The outside reaches endpoints by addresses of its own segment, without a route: the host answers for them, and for no others.
func TestTrafficNDProxy(t *testing.T) {
	for name, config := range map[string]string{"ebpf": proxied, "kernel": kernelDatapath(proxied)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				before := takeDump(t)
				run(t, "", "flyover", "up", "-f", configFile(t, config))
				inNS1 := place{"ns1", netip.MustParseAddr("2001:db8:ffff:0:15::1")}
				exchange(t, outsideSix, inNS1)
				exchange(t, inNS1, outsideSix)
				if out, err := try(outside, "ping", "-c", "1", "-W", "3", "2001:db8:ffff:0:15::77"); err == nil {
					t.Errorf("somebody answers for an address that nobody has:\n%s", out)
				}
				run(t, "", "flyover", "down")
				sameDump(t, "down", before)
				if out := run(t, "", "ip", "-6", "neigh", "show", "proxy"); strings.TrimSpace(out) != "" {
					t.Errorf("left behind: %s", out)
				}
			})
		})
	}
}
