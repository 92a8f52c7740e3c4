// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"flyover/test/lab/labtest"
)

// attackConfig has an attacker, ns1, a victim, ns2, and whom the victim talks to, ns3.
const attackConfig = `
networks:
  - name: br1
    subnets: [192.168.15.0/24, fd00:15::/64]
    gateway: [192.168.15.10, fd00:15::10]
    datapath: {datapath}
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1, fd00:15::1]}
      - {namespace: ns2, addresses: [192.168.15.2, fd00:15::2]}
      - {namespace: ns3, addresses: [192.168.15.3, fd00:15::3]}
`

var (
	addrNS3 = netip.MustParseAddr("192.168.15.3")
	ns3Six  = place{"ns3", netip.MustParseAddr("fd00:15::3")}
)

// attack is one that works on the kernel's own datapath, which proves that it is one, and not on flyover's.
type attack struct {
	*testing.T
	injector // in ns1
	ebpf     bool
	six      bool // the victims talk by IPv6, otherwise by IPv4
	ns3      net.HardwareAddr
}

// attacks runs one in a lab for each datapath. It has to harm nobody where flyover forwards: the victim's neighbours and traffic, the
// host's neighbours and the bridge's FDB are looked at before and after.
func attacks(t *testing.T, run func(a *attack)) {
	attacksOver(t, false, run)
}

// attacksSix is attacks for IPv6, whose routes and addresses are looked at, too.
func attacksSix(t *testing.T, run func(a *attack)) {
	attacksOver(t, true, run)
}

func attacksOver(t *testing.T, six bool, run func(a *attack)) {
	for _, datapath := range []string{"kernel", "ebpf"} {
		t.Run(datapath, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) { newAttack(t, datapath, six).on(run) })
		})
	}
}

func newAttack(t *testing.T, datapath string, six bool) *attack {
	t.Helper()
	flyover(t, "up", "-f", configFile(t, strings.ReplaceAll(attackConfig, "{datapath}", datapath)))
	if six {
		credulousSix(t)
		if datapath == "kernel" { // flyover tells the host where its endpoints are, whatever the datapath
			run(t, "", "ip", "-6", "neigh", "flush", "dev", "br1", "nud", "permanent")
		}
	} else {
		quiet(t)
		run(t, "ns3", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
		// The most credulous of victims: it believes announcements, and at once.
		run(t, "ns2", "sysctl", "-qw", "net.ipv4.conf.all.arp_accept=1", "net.ipv4.neigh.veth-ns2.locktime=0")
	}
	if got := status(t).Networks[0].Datapath; string(got) != datapath {
		t.Fatalf("datapath is %s", got)
	}
	return &attack{t, injectorInNS1(t), datapath == "ebpf", six, hardware(t, "ns3", "veth-ns3")}
}

// credulousSix makes victims of those that flyover has configured not to be: ns2 and the host's bridge believe in routers, redirects,
// duplicates and fragments. The attacker has no IPv6 but what it makes up.
func credulousSix(t *testing.T) {
	t.Helper()
	run(t, "ns1", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	for _, end := range [][2]string{{"ns2", "veth-ns2"}, {"", "br1"}} {
		for _, setting := range []string{
			"router_solicitations=0", "accept_ra=2", "autoconf=1", "accept_redirects=1", "accept_dad=1", "suppress_frag_ndisc=0",
		} {
			run(t, end[0], "sysctl", "-qw", "net.ipv6.conf."+end[1]+"."+setting)
		}
	}
	// The kernel makes it when it notices the link, which may be after up has returned.
	until(t, "the victim's link-local address", func() bool {
		return strings.Contains(run(t, "ns2", "ip", "-6", "addr", "show", "dev", "veth-ns2", "scope", "link", "-tentative"), "fe80:")
	})
}

func (a *attack) on(attack func(*attack)) {
	a.talks()
	before := a.known()
	attack(a)
	if !a.ebpf {
		return
	}
	a.talks()
	if diff := cmp.Diff(before, a.known()); diff != "" {
		a.Errorf("what the victims know has changed (-before +after)\n%s", diff)
	}
}

// known is what the victims know. A neighbour's link-local address, which its own questions tell, is no news unless it is the
// attacker's.
func (a *attack) known() []string {
	a.Helper()
	if !a.six {
		return neighbours(a.T)
	}
	var all []string
	for _, line := range strings.Split(sh(a.T, `for ns in "" "-n ns2"; do ip -6 $ns neigh; ip -6 $ns route; ip -6 -o $ns addr; done
		bridge fdb show br br1`), "\n") {
		if line = neighbourState.ReplaceAllString(line, ""); !strings.HasPrefix(line, "fe80::") || strings.Contains(line, a.own.String()) {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

// talks is the victim's traffic.
func (a *attack) talks() {
	a.Helper()
	others := []netip.Addr{addrNS3, addrGateway, addrOutside}
	if a.six {
		others = []netip.Addr{ns3Six.addr, gatewaySix.addr, outsideSix.addr}
	}
	for _, to := range others {
		run(a.T, "ns2", "ping", "-c", "1", "-W", "5", to.String())
	}
}

// works is for the kernel's datapath: in the end the attack has succeeded.
func (a *attack) works(what string, done func() bool) {
	a.Helper()
	if !a.ebpf {
		until(a.T, what, done)
	}
}

// refused sends what flyover's datapath has to drop for the reason, so many packets and no more.
func (a *attack) refused(reason string, n int, attack func()) {
	a.Helper()
	if !a.ebpf {
		attack()
		return
	}
	before := status(a.T)
	attack()
	countedMore(a.T, before, "from_endpoint "+reason, uint64(n))
}

// reaches says that the datagram before gets to the socket, which it must not by flyover.
func (a *attack) reaches(what string, conn *net.UDPConn) {
	a.Helper()
	wait := patience
	if a.ebpf {
		wait = 50 * time.Millisecond // the datagram is counted as dropped by now
	}
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	_, from, err := conn.ReadFromUDPAddrPort(make([]byte, 1<<10))
	if a.ebpf == (err == nil) {
		a.Errorf("%s: from %v, error %v", what, from, err)
	}
}

// sendUDP sends a UDP datagram in a frame from a MAC to another. Extension headers of IPv6 may be before it.
func (a *attack) sendUDP(from, to net.HardwareAddr, source, destination netip.AddrPort, extensions ...extension) {
	a.Helper()
	header := &layers.UDP{SrcPort: layers.UDPPort(source.Port()), DstPort: layers.UDPPort(destination.Port())}
	if source.Addr().Is6() {
		a.sendSix(from, to, source.Addr(), destination.Addr(), extensions, layers.IPProtocolUDP, header, gopacket.Payload(marker))
		return
	}
	ip := ipv4(source.Addr(), destination.Addr(), layers.IPProtocolUDP)
	_ = header.SetNetworkLayerForChecksum(ip)
	a.send(a.T, ethernet(from, to, layers.EthernetTypeIPv4), ip, header, gopacket.Payload(marker))
}
