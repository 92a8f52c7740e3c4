// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"flyover/control"
	"flyover/control/config"
	"flyover/control/reconcile"
	"flyover/test/lab/labtest"
)

// perBridge is how many endpoints these tests have on one bridge, in place of a thousand.
const perBridge = 4

// crowdConfig is a network of both families with n endpoints, ns1 and so on.
func crowdConfig(n int) string {
	var b strings.Builder
	b.WriteString(`networks:
  - name: br1
    subnets: [192.168.15.0/24, fd00:15::/64]
    gateway: [192.168.15.254, fd00:15::fe]
    endpoints:
`)
	for i := range n {
		fmt.Fprintf(&b, "      - {namespace: ns%d, addresses: [%s, %s]}\n", i+1, crowdPlace(i+1).addr, crowdPlaceSix(i+1).addr)
	}
	return b.String()
}

func crowdPlace(n int) place {
	return place{fmt.Sprintf("ns%d", n), netip.AddrFrom4([4]byte{192, 168, 15, byte(n)})}
}

func crowdPlaceSix(n int) place {
	return place{fmt.Sprintf("ns%d", n), netip.MustParseAddr(fmt.Sprintf("fd00:15::%d", n))}
}

var (
	crowdGateway    = place{"", netip.MustParseAddr("192.168.15.254")}
	crowdGatewaySix = place{"", netip.MustParseAddr("fd00:15::fe")}
)

// overCrowd runs test in a fresh lab with ten endpoints on three bridges: ns1 to ns4 on the network's own, ns5 to ns8, ns9 and ns10.
func overCrowd(t *testing.T, test func(*testing.T, variant)) {
	for _, v := range []variant{tcx, clsact} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				crowdUp(t, v, 10)
				sealed(t)
				conserved(t)
				test(t, v)
			})
		})
	}
}

// crowdUp is `flyover up` with so many endpoints, and with small bridges.
func crowdUp(t *testing.T, v variant, endpoints int) reconcile.Plan {
	t.Helper()
	return shardedUp(t, v, crowdConfig(endpoints), perBridge)
}

// shardedUp is `flyover up` with at most so many endpoints on one bridge.
func shardedUp(t *testing.T, v variant, text string, most int) reconcile.Plan {
	t.Helper()
	cfg, err := config.Parse("crowd.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := control.Host{Version: "test", Hook: v.hook, BridgeEndpoints: most}.Up(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// bridgeOf is the bridge that the host's end of the n-th endpoint is a port of.
func bridgeOf(t *testing.T, n int) string {
	t.Helper()
	return strings.TrimSpace(sh(t, fmt.Sprintf(`basename "$(readlink /sys/class/net/veth-ns%d-br/master)"`, n)))
}
