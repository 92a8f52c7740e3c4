// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"net"
	"net/netip"

	"flyover/test/lab"
	"flyover/test/packet"
	"flyover/test/wire"
)

// frame is one captured packet.
type frame = wire.Frame

// capture collects what passes an interface from now until the test ends.
type capture struct {
	*wire.Capture
	h *host
}

func (h *host) capture(namespace, device string) *capture {
	h.t.Helper()
	c, err := wire.Open(namespace, device)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return &capture{c, h}
}

// wait waits for n packets that match and returns all so far. The row fails, for want of what, if they do not come.
func (c *capture) wait(what string, n int, match func(frame) bool) []frame {
	c.h.t.Helper()
	var found []frame
	c.h.until(fmt.Sprintf("%s (%d)", what, n), func() bool {
		found = c.All(match)
		return len(found) >= n
	})
	return found
}

// none fails the row if a packet that matches was captured so far. What may be on its way needs a fence before.
func (c *capture) none(what string, match func(frame) bool) {
	c.h.t.Helper()
	if found := c.All(match); len(found) > 0 {
		c.h.t.Logf("%s: %s", what, found[0])
		c.h.Failf("%s", what)
	}
}

// inject sends a frame as it is out of a device, as if the stack of its namespace had.
func (h *host) inject(namespace, device string, data []byte) {
	h.t.Helper()
	if err := wire.Inject(namespace, device, data); err != nil {
		h.t.Fatal(err)
	}
}

// mac is a device's Ethernet address.
func (h *host) mac(namespace, device string) packet.MAC {
	h.t.Helper()
	i := within(h, namespace, func() (*net.Interface, error) { return net.InterfaceByName(device) })
	return packet.MAC(i.HardwareAddr)
}

// fromNS1 are the ends of a packet that ns1 injects at veth-ns1 for the gateway to route. Addresses are "address:port".
func (h *host) fromNS1(source, destination string) packet.Ends {
	h.t.Helper()
	return h.ends(h.mac("ns1", "veth-ns1"), h.mac("", "br1"), source, destination)
}

// fromNS2 is fromNS1 for ns2.
func (h *host) fromNS2(source, destination string) packet.Ends {
	h.t.Helper()
	return h.ends(h.mac("ns2", "veth-ns2"), h.mac("", "br1"), source, destination)
}

// fromOutside are the ends of a packet that the outside injects at its eth0 for the host.
func (h *host) fromOutside(source, destination string) packet.Ends {
	h.t.Helper()
	return h.ends(h.mac(outside, lab.OutsideInterface), h.mac("", lab.Uplink), source, destination)
}

func (h *host) ends(from, to packet.MAC, source, destination string) packet.Ends {
	return packet.Ends{
		SourceMAC: from, DestinationMAC: to,
		Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination),
	}
}

// flow matches received packets from one "address:port" to another. A port of 0 matches any, an empty end too.
func flow(source, destination string) func(frame) bool {
	return func(f frame) bool {
		return !f.Sent && matches(source, f.Source()) && matches(destination, f.Destination())
	}
}

func matches(pattern string, end netip.AddrPort) bool {
	if pattern == "" {
		return true
	}
	want := netip.MustParseAddrPort(pattern)
	return want.Addr() == end.Addr() && (want.Port() == 0 || want.Port() == end.Port())
}

var (
	inside  = netip.MustParsePrefix("192.168.15.0/24")
	inside6 = netip.MustParsePrefix("fd00:15::/64")
)

// fromInside matches what carries an inside address as source, of IP or ARP.
func fromInside(f frame) bool {
	if arp := f.ARP(); arp != nil {
		sender, _ := netip.AddrFromSlice(arp.SourceProtAddress)
		return inside.Contains(sender)
	}
	src, _ := f.Addrs()
	return inside.Contains(src) || inside6.Contains(src)
}
