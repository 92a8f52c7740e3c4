// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"flyover/test/lab/labtest"
)

// attackConfig has an attacker, ns1, a victim, ns2, and whom the victim talks to, ns3.
const attackConfig = `
networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    datapath: {datapath}
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1]}
      - {namespace: ns2, addresses: [192.168.15.2]}
      - {namespace: ns3, addresses: [192.168.15.3]}
`

var addrNS3 = netip.MustParseAddr("192.168.15.3")

// attack is one that works on the kernel's own datapath, which proves that it is one, and not on flyover's.
type attack struct {
	*testing.T
	injector // in ns1
	ebpf     bool
	ns3      net.HardwareAddr
}

// attacks runs one in a lab for each datapath. It has to harm nobody where flyover forwards: the victim's neighbours and traffic, the
// host's neighbours and the bridge's FDB are looked at before and after.
func attacks(t *testing.T, run func(a *attack)) {
	for _, datapath := range []string{"kernel", "ebpf"} {
		t.Run(datapath, func(t *testing.T) {
			t.Parallel()
			labtest.Alone(t, func(t *testing.T) { newAttack(t, datapath).on(run) })
		})
	}
}

func newAttack(t *testing.T, datapath string) *attack {
	t.Helper()
	flyover(t, "up", "-f", configFile(t, strings.ReplaceAll(attackConfig, "{datapath}", datapath)))
	quiet(t)
	run(t, "ns3", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	// The most credulous of victims: it believes announcements, and at once.
	run(t, "ns2", "sysctl", "-qw", "net.ipv4.conf.all.arp_accept=1", "net.ipv4.neigh.veth-ns2.locktime=0")
	if got := status(t).Networks[0].Datapath; string(got) != datapath {
		t.Fatalf("datapath is %s", got)
	}
	return &attack{t, injectorInNS1(t), datapath == "ebpf", hardware(t, "ns3", "veth-ns3")}
}

func (a *attack) on(attack func(*attack)) {
	a.talks()
	before := neighbours(a.T)
	attack(a)
	if !a.ebpf {
		return
	}
	a.talks()
	if after := neighbours(a.T); strings.Join(before, "") != strings.Join(after, "") {
		a.Errorf("neighbours and FDB were\n%s\nand are\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

// talks is the victim's traffic.
func (a *attack) talks() {
	a.Helper()
	for _, to := range []netip.Addr{addrNS3, addrGateway, addrOutside} {
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

// sendUDP sends a UDP datagram in a frame from a MAC to another.
func (a *attack) sendUDP(from, to net.HardwareAddr, source, destination netip.AddrPort) {
	a.Helper()
	ip := ipv4(source.Addr(), destination.Addr(), layers.IPProtocolUDP)
	header := &layers.UDP{SrcPort: layers.UDPPort(source.Port()), DstPort: layers.UDPPort(destination.Port())}
	_ = header.SetNetworkLayerForChecksum(ip)
	a.send(a.T, ethernet(from, to, layers.EthernetTypeIPv4), ip, header, gopacket.Payload(marker))
}
