// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"strings"
	"testing"
)

// betweenNetwork is beside that of ns1 and ns2. Its MTU is smaller.
const betweenNetwork = `  - name: br2
    subnets: [192.168.16.0/24]
    mtu: 1400
    gateway: 192.168.16.10
    endpoints:
      - {namespace: ns3, addresses: [192.168.16.3]}
`

var betweenInIPv6 = strings.NewReplacer("192.168.16.0/24", "fd00:16::/64", "192.168.16.", "fd00:16::")

// besides adds betweenNetwork to what the variant has: with isolation as it says for both.
func (v variant) besides(isolation string) variant {
	first := map[bool]string{false: tutorial, true: ipv6Only}[v.six]
	second := betweenNetwork
	if v.six {
		second = betweenInIPv6.Replace(second)
	}
	if !v.ebpf {
		first, second = kernelDatapath(first), kernelDatapath(second)
	}
	v.config = first + second
	if isolation != "" {
		v.config = strings.ReplaceAll(v.config, "    gateway:", "    isolation: "+isolation+"\n    gateway:")
	}
	return v
}

var betweenVariants = []variant{tcx, clsact, kernel, tcxSix, kernelSix}

func besides(isolation string) []variant {
	var all []variant
	for _, v := range betweenVariants {
		all = append(all, v.besides(isolation))
	}
	return all
}

func (v variant) ns3() (inNS3, gateway place) {
	if v.six {
		return place{"ns3", netip.MustParseAddr("fd00:16::3")}, place{"", netip.MustParseAddr("fd00:16::10")}
	}
	return place{"ns3", netip.MustParseAddr("192.168.16.3")}, place{"", netip.MustParseAddr("192.168.16.10")}
}

// Networks that are not isolated are routed between, by their own addresses; what does not fit is fragmented, or the sender is told.
func TestTrafficBetweenNetworks(t *testing.T) {
	over(t, func(t *testing.T, v variant) {
		inNS3, _ := v.ns3()
		before := status(t)
		for _, way := range [][2]place{{v.ns1, inNS3}, {inNS3, v.ns2}} {
			from, to := way[0], way[1]
			tcpTransfer(t, from, to, 1<<20)
			var sources []netip.Addr
			echo := netip.AddrPortFrom(to.addr, udpEcho(t, to, func(a netip.AddrPort) { sources = append(sources, a.Addr()) }))
			v.learnMTU(t, from, to)
			for _, size := range []int{1, 1352, 1353, 1372, 1373, v.mtu, 9000} {
				if err := udpAsk(t, from, echo, payload(size)); err != nil {
					t.Errorf("%s to %s: UDP of %d octets: %v", from.addr, to.addr, size, err)
				}
			}
			for _, source := range sources {
				if source != from.addr {
					t.Errorf("%s is seen as %s", from.addr, source)
				}
			}
			run(t, from.ns, "ping", "-c", "1", "-W", "5", to.addr.String())
			run(t, from.ns, "ping", "-c", "1", "-W", "5", v.atOutside.addr.String())
		}
		if n := counted(status(t), "FORWARD_NETWORK") - counted(before, "FORWARD_NETWORK"); v.ebpf && n < 20 {
			t.Errorf("%d packets took the fast path", n)
		}
	}, besides("false")...)
}

// learnMTU has the end on the wider network told that the other is narrower: of what is too large, nothing arrives before.
func (v variant) learnMTU(t *testing.T, from, to place) {
	t.Helper()
	if from.ns == "ns3" {
		from, to = to, from
	}
	until(t, from.ns+" knows the MTU of the way", func() bool {
		conn := udpAt(t, from, 0)
		defer conn.Close()
		_, _ = conn.WriteToUDPAddrPort(payload(v.mtu), netip.AddrPortFrom(to.addr, 9))
		return strings.Contains(run(t, from.ns, "ip", "route", "get", to.addr.String()), "mtu 1400")
	})
}

// Networks are isolated from each other unless they say otherwise; the host, by whichever of its addresses, and the outside are not.
func TestTrafficIsolated(t *testing.T) {
	over(t, func(t *testing.T, v variant) {
		inNS3, gateway := v.ns3()
		before := status(t)
		for _, way := range [][2]place{{v.ns1, inNS3}, {inNS3, v.ns2}} {
			from, to := way[0], way[1]
			if out, err := try(from.ns, "ping", "-c", "1", "-W", "1", to.addr.String()); err == nil {
				t.Errorf("%s reaches %s:\n%s", from.addr, to.addr, out)
			}
			run(t, from.ns, "ping", "-c", "1", "-W", "5", v.atOutside.addr.String())
		}
		run(t, "ns1", "ping", "-c", "1", "-W", "5", gateway.addr.String())
		run(t, "ns3", "ping", "-c", "1", "-W", "5", v.gateway.addr.String())
		run(t, "", "ping", "-c", "1", "-W", "5", inNS3.addr.String())
		if v.ebpf {
			countedMore(t, before, "DROP_ISOLATED", 2)
		}
	}, besides("")...)
}
