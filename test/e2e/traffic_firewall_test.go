// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

// firewall is what ufw and its kind put on a host: nothing comes in that is not asked for, but for one port, and nothing is forwarded.
const firewall = `table inet fw {
	chain input {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		ct state established,related accept
		meta l4proto ipv6-icmp accept
		tcp dport 2222 accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
	}
}
`

// A host firewall keeps its say over what is for the host itself, and over what takes the slow path. The fast path it does not see.
func TestTrafficHostFirewall(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		sh(t, "nft -f - <<'END'\n"+firewall+"END")
		echo := netip.AddrPortFrom(v.atOutside.addr, udpEcho(t, v.atOutside, func(netip.AddrPort) {}))
		reaches := func(what string, want bool, argv ...string) {
			t.Helper()
			out, err := try("ns1", argv...)
			if (err == nil) != want {
				t.Errorf("%s: reached %v, want %v: %v\n%s", what, err == nil, want, err, out)
			}
		}
		connect := func(to netip.Addr, port string) []string {
			return []string{"bash", "-c", "exec timeout 2 bash -c '</dev/tcp/" + to.String() + "/" + port + "' 2>/dev/null"}
		}
		for _, port := range []string{"2222", "2223"} {
			listenAt(t, v.gateway, port)
		}
		for _, to := range []netip.Addr{v.gateway.addr, v.uplink.addr} {
			reaches("a port of the host that is open, at "+to.String(), true, connect(to, "2222")...)
			reaches("a port of the host that is not, at "+to.String(), false, connect(to, "2223")...)
		}
		exchangeHostOut(t, v)
		if !v.ebpf {
			reaches("the outside", false, "ping", "-c", "1", "-W", "1", v.atOutside.addr.String())
			return
		}
		tcpTransfer(t, v.ns1, v.ns2, 1<<20)
		tcpTransfer(t, v.ns1, v.atOutside, 1<<20)
		if err := udpAsk(t, v.ns1, echo, payload(v.most)); err != nil {
			t.Errorf("fragments: %v", err)
		}
		if !v.six { // options take the slow path, where the forward chain drops them
			reaches("the outside with IP options", false, "ping", "-c", "1", "-W", "1", "-R", v.atOutside.addr.String())
		}
		if n := counted(status(t), "DROP_UNSOLICITED"); n > 0 {
			t.Errorf("%d packets unsolicited", n)
		}
	})
}

// listenAt accepts connections at a port of the place, of every address there.
func listenAt(t *testing.T, p place, port string) {
	t.Helper()
	l := within(t, p.ns, func() (net.Listener, error) { return net.Listen("tcp", ":"+port) })
	t.Cleanup(func() { l.Close() })
}

// exchangeHostOut is the host's own traffic, whose answers the firewall knows.
func exchangeHostOut(t *testing.T, v variant) {
	t.Helper()
	for _, to := range []place{v.ns1, v.atOutside} {
		run(t, "", "ping", "-c", "1", "-W", "5", "-s", "65507", to.addr.String())
		tcpTransfer(t, place{"", v.gateway.addr}, to, 1<<20)
	}
	if out := sh(t, "conntrack -L 2>/dev/null || true"); v.ebpf && strings.Contains(out, "src="+v.ns1.addr.String()+" dst="+v.ns2.addr.String()) {
		t.Errorf("conntrack knows of the fast path:\n%s", out)
	}
}
