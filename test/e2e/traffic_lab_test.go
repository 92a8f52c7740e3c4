// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"flyover/control"
	"flyover/test/lab"
	"flyover/test/lab/labtest"
	"flyover/test/wire"
)

// The addresses of the default network, and one that nobody has.
var (
	addrNS1        = netip.MustParseAddr("192.168.15.1")
	addrNS2        = netip.MustParseAddr("192.168.15.2")
	addrGateway    = netip.MustParseAddr("192.168.15.10")
	addrUnassigned = netip.MustParseAddr("192.168.15.77")
	addrUplink     = netip.MustParseAddr(lab.UplinkAddress)
	addrOutside    = netip.MustParseAddr(lab.OutsideAddress)
	inside         = netip.MustParsePrefix("192.168.15.0/24")
	insideSix      = netip.MustParsePrefix("fd00::/8")
)

const outside = lab.OutsideNamespace

// kernelConfig is the default network, forwarded by the bridge and a masquerade rule.
const kernelConfig = `
networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    datapath: kernel
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1]}
      - {namespace: ns2, addresses: [192.168.15.2]}
`

// variant is one way to forward: eBPF by either hook, or the kernel's own, the incumbent that all is compared with.
type variant struct {
	name   string
	hook   string // "" for the kernel's own
	config string // "": the default network
	ebpf   bool
	family
}

// family is where the ends of flows are, in one address family.
type family struct {
	six                                  bool
	ns1, ns2, gateway, uplink, atOutside place
	mtu                                  int // of a UDP or ICMP message's payload, lest it is fragmented
	most                                 int // of such a payload
}

var (
	overIPv4 = family{false, inNS1, inNS2, atGateway, atUplink, atOutside, 1472, 65507}
	// The payload of IPv6 is the longest that ping has, too; 20 octets more would do.
	overSix = family{true, ns1Six, ns2Six, gatewaySix, uplinkSix, outsideSix, 1452, 65507}

	tcx       = variant{"tcx", "tcx", "", true, overIPv4}
	clsact    = variant{"clsact", "clsact", "", true, overIPv4}
	kernel    = variant{"kernel", "", kernelConfig, false, overIPv4}
	tcxSix    = variant{"tcx, IPv6", "tcx", dualStack, true, overSix}
	kernelSix = variant{"kernel, IPv6", "", kernelDatapath(ipv6Only), false, overSix}
)

// overEBPF runs test in a fresh lab with the default network for either hook.
func overEBPF(t *testing.T, test func(*testing.T, variant)) {
	over(t, test, tcx, clsact)
}

// overAll is overEBPF and the same with the kernel's forwarding.
func overAll(t *testing.T, test func(*testing.T, variant)) {
	over(t, test, tcx, clsact, kernel)
}

// overFamilies is overAll with either address family.
func overFamilies(t *testing.T, test func(*testing.T, variant)) {
	over(t, test, tcx, clsact, kernel, tcxSix, kernelSix)
}

func over(t *testing.T, test func(*testing.T, variant), variants ...variant) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				v.up(t)
				if !v.six {
					quiet(t)
				}
				if v.ebpf { // the kernel's own lets some through, see TestTrafficUnsolicitedByKernel
					sealed(t)
					conserved(t)
				}
				test(t, v)
			})
		})
	}
}

// quiet stops what the namespaces send of their own accord, IPv6's announcements, so that counters can be compared exactly.
func quiet(t *testing.T) {
	t.Helper()
	for _, ns := range []string{"ns1", "ns2", outside} {
		run(t, ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	}
}

// up brings the network up and checks that it is forwarded as asked for: a test of the wrong datapath proves nothing.
func (v variant) up(t *testing.T) {
	t.Helper()
	args := []string{"flyover", "up"}
	if v.config != "" {
		args = append(args, "-f", configFile(t, v.config))
	}
	if v.ebpf {
		args = append(args, "--hook", v.hook)
	}
	run(t, "", args...)
	s := status(t)
	if !v.ebpf {
		if s.Networks[0].Datapath != "kernel" {
			t.Fatalf("datapath is %s, want kernel", s.Networks[0].Datapath)
		}
		return
	}
	if s.Networks[0].Datapath != "ebpf" || string(s.Uplinks[0].Hook) != v.hook {
		t.Fatalf("datapath is %s on %s, want ebpf on %s", s.Networks[0].Datapath, s.Uplinks[0].Hook, v.hook)
	}
}

func status(t *testing.T) *control.Status {
	t.Helper()
	s := new(control.Status)
	if err := json.Unmarshal([]byte(run(t, "", "flyover", "status", "-o", "json")), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// within calls f with the thread in a namespace: what f opens stays there, and works from anywhere.
func within[T any](t *testing.T, ns string, f func() (T, error)) T {
	t.Helper()
	made, err := wire.In(ns, f)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// macOf reads an interface's MAC as the kernel has it.
func macOf(t *testing.T, ns, device string) string {
	t.Helper()
	return linkOf(t, ns, device).Address
}

// linkCounters is what the tests need of `ip -s -j link`.
type linkCounters struct {
	Address string `json:"address"`
	Stats   struct {
		RX struct {
			Packets uint64 `json:"packets"`
		} `json:"rx"`
		TX struct {
			Packets uint64 `json:"packets"`
		} `json:"tx"`
	} `json:"stats64"`
}

func linkOf(t *testing.T, ns, device string) linkCounters {
	t.Helper()
	argv := []string{"ip", "-s", "-j", "link", "show", device}
	if ns != "" {
		argv = append([]string{"ip", "-n", ns}, argv[1:]...)
	}
	var links []linkCounters
	err := json.Unmarshal([]byte(run(t, "", argv...)), &links)
	if err == nil && len(links) != 1 {
		err = errors.New("not one link")
	}
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return links[0]
}
