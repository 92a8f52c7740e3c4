// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"flyover/control/reconcile"
	"flyover/test/lab/labtest"
)

// Everybody reaches everybody, by whichever bridges, and the host and the outside.
func TestShardsForward(t *testing.T) {
	overCrowd(t, func(t *testing.T, v variant) {
		for n, want := range map[int]string{1: "br1", 4: "br1", 5: "br1+1", 8: "br1+1", 9: "br1+2", 10: "br1+2"} {
			if got := bridgeOf(t, n); got != want {
				t.Errorf("ns%d is a port of %s, want %s", n, got, want)
			}
		}
		for _, ends := range [][2]int{{5, 6}, {1, 5}, {9, 8}} {
			exchange(t, crowdPlace(ends[0]), crowdPlace(ends[1]))
			exchange(t, crowdPlaceSix(ends[0]), crowdPlaceSix(ends[1]))
		}
		for _, n := range []int{1, 6} {
			exchange(t, crowdPlace(n), crowdGateway)
			exchange(t, crowdPlaceSix(n), crowdGatewaySix)
			exchange(t, crowdGateway, crowdPlace(n))
			exchange(t, crowdGatewaySix, crowdPlaceSix(n))
			run(t, "", "ping", "-c", "2", "-i", "0.01", "-W", "5", "-s", "65507", crowdPlace(n).addr.String())
			run(t, "", "ping", "-c", "2", "-i", "0.01", "-W", "5", "-s", "65507", crowdPlaceSix(n).addr.String())
			for _, to := range []place{atOutside, outsideSix} {
				run(t, crowdPlace(n).ns, "ping", "-c", "2", "-i", "0.01", "-W", "5", "-s", "4000", to.addr.String())
			}
			tcpTransfer(t, crowdPlace(n), atOutside, 1<<20)
			tcpTransfer(t, crowdPlaceSix(n), outsideSix, 1<<20)
		}
		noDrift(t)
	})
}

// What the programs hand to the stack gets there from a shard as well, and its answers come back: options, an expired TTL, a path that
// is too narrow.
func TestShardsSlowPath(t *testing.T) {
	overCrowd(t, func(t *testing.T, v variant) {
		const n = 6
		at := openCapture(t, crowdPlace(n).ns, "veth-ns6")
		run(t, crowdPlace(n).ns, "ping", "-c", "2", "-i", "0.01", "-W", "5", "-T", "tsonly", atOutside.addr.String())
		run(t, crowdPlace(n).ns, "ping", "-c", "2", "-i", "0.01", "-W", "5", "-T", "tsonly", crowdPlace(9).addr.String())
		told := func(what string, from place, four, six uint8) {
			t.Helper()
			at.wait(t, what, 1, func(f frame) bool {
				src, _ := f.Addrs()
				return !f.Sent && src == from.addr && isICMP(f, four, six)
			})
		}
		for to, gateway := range map[place]place{atOutside: crowdGateway, outsideSix: crowdGatewaySix} {
			if out, err := try(crowdPlace(n).ns, "ping", "-c", "1", "-W", "5", "-t", "1", to.addr.String()); err == nil {
				t.Errorf("ping with TTL 1 is answered\n%s", out)
			}
			told("time exceeded", gateway, layers.ICMPv4TypeTimeExceeded, layers.ICMPv6TypeTimeExceeded)
		}
		sh(t, `ip link set eth0 mtu 1400 && ip -n outside link set eth0 mtu 1400`)
		crowdUp(t, v, 10)
		for to, gateway := range map[place]place{atOutside: crowdGateway, outsideSix: crowdGatewaySix} {
			_, _ = try(crowdPlace(n).ns, "ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1430", to.addr.String())
			told("packet too big", gateway, layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv6TypePacketTooBig)
		}
	})
}

// A broadcast or multicast is heard once by everybody, the host included, and not by its sender.
func TestShardsBroadcast(t *testing.T) {
	overCrowd(t, func(t *testing.T, v variant) {
		everywhere := netip.MustParseAddr("255.255.255.255")
		group := netip.MustParseAddr("224.0.0.251")
		host := udpAt(t, place{"", netip.IPv4Unspecified()}, 4001)
		captures := map[int]*capture{}
		for i := 1; i <= 10; i++ {
			captures[i] = openCapture(t, crowdPlace(i).ns, fmt.Sprintf("veth-ns%d", i))
		}
		from := []int{2, 7, 10}
		for _, n := range from {
			for _, to := range []netip.Addr{everywhere, group} {
				broadcast(t, crowdPlace(n), to)
			}
		}
		for i, c := range captures {
			for _, n := range from {
				for _, to := range []netip.Addr{everywhere, group} {
					match := func(f frame) bool { return !f.Sent && between(crowdPlace(n).addr, to)(f) && f.UDP() != nil }
					want := 1
					if i == n {
						want = 0
					}
					if got := len(c.wait(t, "broadcast", want, match)); got != want {
						t.Errorf("ns%d receives %d of ns%d to %s, want %d", i, got, n, to, want)
					}
				}
			}
		}
		heard(t, host, from)
	})
}

// broadcast sends one marked datagram from port 4000.
func broadcast(t *testing.T, from place, to netip.Addr) {
	t.Helper()
	conn := udpAt(t, from, 4000)
	defer conn.Close()
	if _, err := conn.WriteToUDPAddrPort([]byte(marker), netip.AddrPortFrom(to, 4001)); err != nil {
		t.Fatal(err)
	}
}

// heard wants one datagram of each in the socket, and the end of it: a last one by unicast.
func heard(t *testing.T, conn *net.UDPConn, from []int) {
	t.Helper()
	last := crowdPlace(1)
	sender := udpAt(t, last, 4000)
	if _, err := sender.WriteToUDPAddrPort([]byte(marker), netip.AddrPortFrom(crowdGateway.addr, 4001)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, n := range from {
		want = append(want, crowdPlace(n).addr.String())
	}
	for {
		_, sender, err := conn.ReadFromUDPAddrPort(make([]byte, 1<<10))
		if err != nil {
			t.Fatalf("the host heard %v: %v", got, err)
		}
		if sender.Addr() == last.addr {
			break
		}
		got = append(got, sender.Addr().String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the host heard:\n%s", diff)
	}
}

// Who is not spoken to hears nothing of the others, also of what the stack forwards.
func TestShardsAreQuiet(t *testing.T) {
	overCrowd(t, func(t *testing.T, v variant) {
		var captures []*capture
		for _, n := range []int{3, 8, 10} {
			captures = append(captures, openCapture(t, crowdPlace(n).ns, fmt.Sprintf("veth-ns%d", n)))
		}
		for _, ends := range [][2]int{{5, 6}, {1, 9}} {
			exchange(t, crowdPlace(ends[0]), crowdPlace(ends[1]))
			exchange(t, crowdPlaceSix(ends[0]), crowdPlaceSix(ends[1]))
			exchange(t, crowdGateway, crowdPlace(ends[1]))
			exchange(t, crowdPlaceSix(ends[1]), crowdGatewaySix)
			run(t, crowdPlace(ends[0]).ns, "ping", "-c", "1", "-W", "5", "-T", "tsonly", atOutside.addr.String())
		}
		for i, c := range captures {
			c.none(t, fmt.Sprintf("foreign unicast at the %d. endpoint", i), func(f frame) bool {
				return !f.Sent && f.Data()[0]&1 == 0
			})
			c.none(t, "question for a neighbour", func(f frame) bool {
				icmp := f.ICMPv6()
				return !f.Sent && (f.ARP() != nil || icmp != nil && icmp.TypeCode.Type() == layers.ICMPv6TypeNeighborSolicitation)
			})
		}
	})
}

// Endpoints beyond what a bridge takes come beside those that are there, whose connections go on.
func TestShardsGrowAndShrink(t *testing.T) {
	for _, v := range []variant{tcx, clsact} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				before := sh(t, "ip -br link; ip -br addr")
				crowdUp(t, v, perBridge)
				stream := startStream(t, "ns1", "ns4", "192.168.15.4")
				if plan := crowdUp(t, v, perBridge+1); !plan.Adds() {
					t.Errorf("the fifth endpoint changes others:\n%s", plan)
				}
				crowdUp(t, v, 3*perBridge)
				stream.progress(t)
				for n, want := range map[int]string{4: "br1", 5: "br1+1", 8: "br1+1", 9: "br1+2"} {
					if got := bridgeOf(t, n); got != want {
						t.Errorf("ns%d is a port of %s, want %s", n, got, want)
					}
				}
				exchange(t, crowdPlace(5), crowdPlace(12))
				plan := crowdUp(t, v, perBridge)
				for _, op := range plan {
					if op.Action != reconcile.Remove {
						t.Errorf("fewer endpoints: %s", op)
					}
				}
				stream.whole(t)
				noDrift(t)
				if left := sh(t, "ip -br link"); strings.Contains(left, "+") {
					t.Errorf("bridges that nobody is on:\n%s", left)
				}
				flyover(t, "down")
				if after := sh(t, "ip -br link; ip -br addr"); after != before {
					t.Errorf("left behind:\n%s", cmp.Diff(before, after))
				}
			})
		})
	}
}
