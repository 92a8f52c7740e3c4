// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
)

// Between endpoints, and between an endpoint and its gateway.
func TestTrafficPingInside(t *testing.T) {
	overAll(t, func(t *testing.T, _ variant) {
		for _, ping := range []struct {
			ns string
			to netip.Addr
		}{{"ns1", addrNS2}, {"ns2", addrNS1}, {"ns1", addrGateway}, {"ns2", addrGateway}, {"ns1", addrNS1}} {
			// 1472 octets fill the MTU, one more needs a fragment, 65507 is the largest that IPv4 has.
			for _, size := range []int{0, 1, 56, 1472, 1473, 9000, 65507} {
				run(t, ping.ns, "ping", "-c", "2", "-i", "0.01", "-W", "5", "-s", fmt.Sprint(size), ping.to.String())
			}
		}
	})
}

func TestTrafficUDPInside(t *testing.T) {
	overAll(t, func(t *testing.T, _ variant) {
		for _, ends := range [][2]place{{inNS1, inNS2}, {inNS2, inNS1}} {
			to := netip.AddrPortFrom(ends[1].addr, udpEcho(t, ends[1], func(from netip.AddrPort) {
				if from.Addr() != ends[0].addr {
					t.Errorf("%s arrived as %s", ends[0].addr, from)
				}
			}))
			for _, size := range []int{0, 1, 1000, 1472, 1473, 9000, 65507} {
				if err := udpAsk(t, ends[0], to, payload(size)); err != nil {
					t.Errorf("%s to %s, %d octets: %v", ends[0].addr, to, size, err)
				}
			}
		}
	})
}

func TestTrafficTCPInside(t *testing.T) {
	overAll(t, func(t *testing.T, v variant) {
		start := status(t)
		for _, size := range []int{1, 1000, 1448, 1472, 9000, 65507, 20 << 20} {
			tcpTransfer(t, inNS1, inNS2, size)
		}
		tcpTransfer(t, inNS2, inNS1, 20<<20)
		if !v.ebpf {
			return
		}
		if n := counted(status(t), "FORWARD_ENDPOINT") - counted(start, "FORWARD_ENDPOINT"); n < 1000 {
			t.Errorf("%d packets took the fast path", n)
		}
	})
}
