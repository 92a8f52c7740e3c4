// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
)

// Between endpoints, and between an endpoint and its gateway.
func TestTrafficPingInside(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		for _, ping := range []struct {
			ns string
			to netip.Addr
		}{{"ns1", v.ns2.addr}, {"ns2", v.ns1.addr}, {"ns1", v.gateway.addr}, {"ns2", v.gateway.addr}, {"ns1", v.ns1.addr}} {
			// One octet more than fills the MTU needs a fragment.
			for _, size := range []int{0, 1, 56, v.mtu, v.mtu + 1, 9000, v.most} {
				run(t, ping.ns, "ping", "-c", "2", "-i", "0.01", "-W", "5", "-s", fmt.Sprint(size), ping.to.String())
			}
		}
	})
}

func TestTrafficUDPInside(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		for _, ends := range [][2]place{{v.ns1, v.ns2}, {v.ns2, v.ns1}} {
			to := netip.AddrPortFrom(ends[1].addr, udpEcho(t, ends[1], func(from netip.AddrPort) {
				if from.Addr() != ends[0].addr {
					t.Errorf("%s arrived as %s", ends[0].addr, from)
				}
			}))
			for _, size := range []int{0, 1, 1000, v.mtu, v.mtu + 1, 9000, v.most} {
				if err := udpAsk(t, ends[0], to, payload(size)); err != nil {
					t.Errorf("%s to %s, %d octets: %v", ends[0].addr, to, size, err)
				}
			}
		}
	})
}

func TestTrafficTCPInside(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		start := status(t)
		for _, size := range []int{1, 1000, 1448, 1472, 9000, 65507, 20 << 20} {
			tcpTransfer(t, v.ns1, v.ns2, size)
		}
		tcpTransfer(t, v.ns2, v.ns1, 20<<20)
		if !v.ebpf {
			return
		}
		if n := counted(status(t), "FORWARD_ENDPOINT") - counted(start, "FORWARD_ENDPOINT"); n < 1000 {
			t.Errorf("%d packets took the fast path", n)
		}
	})
}
