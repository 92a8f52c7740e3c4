// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/test/lab"
	"flyover/test/packet"
)

// endpoint is one endpoint of the test host; its id is its place in host.endpoints.
type endpoint struct {
	addr    netip.Addr
	addr6   netip.Addr
	mac     packet.MAC
	network uint32
	ifindex uint32
}

// host is what the lab's interfaces are: a bridge and endpoints, the uplink with the default route, and a way to elsewhere.
type host struct {
	bridge, uplink uint32
	uplinkMAC      packet.MAC
	endpoints      []endpoint // 0 is none, so that an id never set shows
}

// Networks of the test host.
const (
	masqueraded = 1 // endpoints 1 and 2
	routed      = 2 // endpoint 3; not masqueraded
)

var (
	gatewayMAC      = packet.MAC{0x02, 0xf1, 0, 0, 0, 0x0a}
	gatewayAddr     = netip.MustParseAddr("192.168.15.10")
	subnet          = netip.MustParsePrefix("192.168.15.0/24")
	nobody          = netip.MustParseAddr("192.168.15.77") // an address of subnet
	gateway6        = netip.MustParseAddr("fd00:15::10")
	subnet6         = netip.MustParsePrefix("fd00:15::/64")
	nobody6         = netip.MustParseAddr("fd00:15::77")
	routedGateway   = netip.MustParseAddr("10.2.0.1")
	routedSubnet    = netip.MustParsePrefix("10.2.0.0/16")
	routedSubnet6   = netip.MustParsePrefix("2001:db8:2::/48")
	outsideAddr     = netip.MustParseAddr(lab.UplinkAddress)
	nextHop         = netip.MustParseAddr(lab.OutsideAddress)
	remoteAddr      = netip.MustParseAddr("198.51.100.7")
	outsideAddr6    = netip.MustParseAddr(lab.UplinkAddress6)
	nextHop6        = netip.MustParseAddr(lab.OutsideAddress6)
	remoteAddr6     = netip.MustParseAddr("2001:db8:7::7")
	elsewhereAddr   = netip.MustParseAddr("198.18.0.9")
	elsewhere       = netip.MustParsePrefix("198.18.0.1/15")
	unroutableAddr  = netip.MustParseAddr("198.20.0.9")
	elsewhereAddr6  = netip.MustParseAddr("2001:db8:e::9")
	elsewhere6      = netip.MustParsePrefix("2001:db8:e::1/64")
	unroutableAddr6 = netip.MustParseAddr("2001:db8:dead::9")
)

// theHost makes the interfaces once; every test of the binary shares the lab.
var theHost = sync.OnceValues(makeHost)

func needHost(t testing.TB) *host {
	t.Helper()
	h, err := theHost()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func makeHost() (*host, error) {
	h := &host{endpoints: []endpoint{
		{},
		{addr: netip.MustParseAddr("192.168.15.1"), addr6: netip.MustParseAddr("fd00:15::1"), mac: packet.MAC{0x02, 0xf1, 0, 0, 0, 1}, network: masqueraded},
		{addr: netip.MustParseAddr("192.168.15.2"), addr6: netip.MustParseAddr("fd00:15::2"), mac: packet.MAC{0x02, 0xf1, 0, 0, 0, 2}, network: masqueraded},
		{addr: netip.MustParseAddr("10.2.0.3"), addr6: netip.MustParseAddr("2001:db8:2::3"), mac: packet.MAC{0x02, 0xf1, 0, 0, 0, 3}, network: routed},
	}}
	for i := range h.endpoints[1:] {
		e := &h.endpoints[i+1]
		name := fmt.Sprintf("ep%d", i+1)
		index, err := addLink(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}, "")
		if err != nil {
			return nil, err
		}
		e.ifindex = index
	}
	var err error
	if h.bridge, err = addLink(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br1"}}, gatewayAddr.String()+"/24"); err != nil {
		return nil, err
	}
	if err := addAddress6("br1", netip.PrefixFrom(gateway6, subnet6.Bits())); err != nil {
		return nil, err
	}
	for _, family := range []string{"ipv4", "ipv6"} { // without it, no route is found for what comes by the bridge
		if err := os.WriteFile("/proc/sys/net/"+family+"/conf/br1/forwarding", []byte("1"), 0); err != nil {
			return nil, err
		}
	}
	other := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "other0"}, PeerName: "other0p"}
	if _, err := addLink(other, elsewhere.String()); err != nil {
		return nil, err
	}
	if err := addAddress6("other0", elsewhere6); err != nil {
		return nil, err
	}
	for _, a := range []netip.Addr{unroutableAddr, unroutableAddr6} {
		unroutable := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
		if err := netlink.RouteAdd(&netlink.Route{Dst: unroutable, Type: 7 /* RTN_UNREACHABLE */}); err != nil {
			return nil, fmt.Errorf("add route %v: %w", unroutable, err)
		}
	}
	return h, h.findUplink()
}

// addAddress6 gives an interface an IPv6 address, to be used at once.
func addAddress6(name string, address netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	addr, err := netlink.ParseAddr(address.String())
	if err != nil {
		return err
	}
	addr.Flags = unix.IFA_F_NODAD
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("add address to %s: %w", name, err)
	}
	return nil
}

func (h *host) findUplink() error {
	link, err := netlink.LinkByName(lab.Uplink)
	if err != nil {
		return fmt.Errorf("find uplink: %w", err)
	}
	h.uplink = uint32(link.Attrs().Index)
	h.uplinkMAC = packet.MAC(link.Attrs().HardwareAddr)
	return nil
}

// addLink makes an interface, gives it the address if there is one, sets it up and returns its index.
func addLink(link netlink.Link, address string) (uint32, error) {
	name := link.Attrs().Name
	if err := netlink.LinkAdd(link); err != nil {
		return 0, fmt.Errorf("add %s: %w", name, err)
	}
	if address != "" {
		addr, err := netlink.ParseAddr(address)
		if err != nil {
			return 0, err
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return 0, fmt.Errorf("add address to %s: %w", name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("set %s up: %w", name, err)
	}
	return uint32(link.Attrs().Index), nil
}
