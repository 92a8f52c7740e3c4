// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/lab/labtest"
	"flyover/test/wire"
)

// far is behind the outside, by a path that is narrower than the network. Its own word on how long segments may be is not to be trusted,
// so that the path has to say it.
const far = "far"

func connectFar(t *testing.T, v variant) place {
	t.Helper()
	p, near, length, forward := place{far, netip.MustParseAddr("192.0.2.2")}, "192.0.2.1", "/24", "net.ipv4.ip_forward"
	if v.six {
		p, near, length, forward = place{far, netip.MustParseAddr("2001:db8:2::2")}, "2001:db8:2::1", "/64 nodad", "net.ipv6.conf.all.forwarding"
	}
	sh(t, `ip netns add far && ip -n outside link add far0 mtu 1400 type veth peer name far1 mtu 1400 netns far
		ip -n outside addr add `+near+length+` dev far0 && ip -n far addr add `+p.addr.String()+length+` dev far1
		ip -n outside link set far0 up && ip -n far link set far1 up
		ip -n far route add default via `+near+` advmss 1440
		ip netns exec outside sysctl -qw `+forward+`=1`)
	return p
}

// A path that is narrower than the network is made known to who sends too much: by the gateway if it is the uplink that is narrow, or by a
// router beyond it, whose message is about the translated packet.
func TestTrafficPathMTU(t *testing.T) {
	over(t, func(t *testing.T, v variant) {
		to := connectFar(t, v)
		atNS1 := openCapture(t, "ns1", "veth-ns1")
		check := func(what string, to place, router netip.Addr) {
			t.Helper()
			tcpTransfer(t, v.ns1, to, 1<<20)
			found := atNS1.All(func(f frame) bool {
				src, _ := f.Addrs()
				return !f.Sent && src == router && quotedSource(f) == v.ns1.addr &&
					isICMP(f, layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv6TypePacketTooBig)
			})
			if len(found) == 0 {
				t.Errorf("%s: ns1 is not told by %s", what, router)
			}
			if route := run(t, "ns1", "ip", "route", "get", to.addr.String()); !strings.Contains(route, "mtu 1400") {
				t.Errorf("%s: ns1 knows %s", what, route)
			}
			echo := netip.AddrPortFrom(to.addr, udpEcho(t, to, func(netip.AddrPort) {}))
			sizes := []int{1, 1352, 1353, v.mtu, 9000}
			if !v.ebpf && v.six {
				sizes = sizes[:2] // of datagrams in fragments, Linux gets none past a router beyond the uplink
			}
			for _, size := range sizes {
				if err := udpAsk(t, v.ns1, echo, payload(size)); err != nil {
					t.Errorf("%s: UDP of %d octets: %v", what, size, err)
				}
			}
		}
		check("beyond", to, v.atOutside.addr)
		sh(t, `ip link set eth0 mtu 1400 && ip -n outside link set eth0 mtu 1400
			ip -n outside route add `+v.uplink.addr.String()+` dev eth0 advmss 1440`)
		v.up(t)
		check("uplink", v.atOutside, v.gateway.addr)
	}, tcx, kernel, tcxSix, kernelSix)
}

// What refuses a packet outside is heard of by the socket inside.
func TestTrafficConnectionRefused(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		for _, to := range []place{v.atOutside, v.ns2, v.gateway} {
			closed := netip.AddrPortFrom(to.addr, 9)
			for _, protocol := range []string{"udp", "tcp"} {
				if err := refusal(t, overIP(protocol, to.addr), closed); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%s to %s: %v", protocol, closed, err)
				}
			}
		}
	})
}

// refusal is the error that a socket of ns1 gets.
func refusal(t *testing.T, network string, to netip.AddrPort) error {
	t.Helper()
	_, err := wire.In("ns1", func() (struct{}, error) {
		conn, err := (&net.Dialer{Timeout: patience}).Dial(network, to.String())
		if err != nil {
			return struct{}{}, err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write([]byte(marker)); err != nil {
			return struct{}{}, err
		}
		_, err = conn.Read(make([]byte, 1))
		return struct{}{}, err
	})
	return err
}

// The uplink gets another address: sessions that begin then have it.
func TestIPv6UplinkAddressChange(t *testing.T) {
	over(t, func(t *testing.T, v variant) {
		tellSource(t, v.atOutside)
		conn := udpAt(t, v.ns1, 4000)
		comesFrom(t, "before", conn, v.atOutside.addr, v.uplink.addr)
		sh(t, `ip addr del 2001:db8:ffff::2/64 dev eth0 && ip addr add 2001:db8:ffff::3/64 dev eth0 nodad`)
		v.up(t)
		comesFrom(t, "after", conn, v.atOutside.addr, netip.MustParseAddr("2001:db8:ffff::3"))
		noDrift(t)
	}, tcxSix)
}

// A network that is not translated, and destinations that see its own addresses.
func TestTrafficUntranslated(t *testing.T) {
	for name, line := range map[string]string{
		"routed": "masquerade: false", "exempt": `exempt: [203.0.113.0/24, "2001:db8:ffff::/64"]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) {
				flyover(t, "up", "-f", configFile(t, strings.Replace(dualStack, "    gateway:", "    "+line+"\n    gateway:", 1)))
				sh(t, `ip -n outside route add 192.168.15.0/24 via 203.0.113.2
					ip -n outside route add fd00:15::/64 via 2001:db8:ffff::2`)
				for _, f := range []family{overIPv4, overSix} {
					exchange(t, f.ns1, f.atOutside)
					exchange(t, f.atOutside, f.ns2)
				}
			})
		})
	}
}
