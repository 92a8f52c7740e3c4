// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/lab"
	"flyover/test/wire"
)

// frame is one captured packet.
type frame = wire.Frame

// capture collects what passes an interface.
type capture struct{ *wire.Capture }

// openCapture starts a capture at an interface. It ends with the test, which fails if the capture has missed something.
func openCapture(t *testing.T, ns, device string) *capture {
	t.Helper()
	c, err := wire.Open(ns, device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return &capture{c}
}

// sealed checks, when the test is over, whatever it was about, that no inside address has reached the outside as a source, and nothing
// whose checksums are wrong.
func sealed(t *testing.T) {
	atOutside := openCapture(t, outside, lab.OutsideInterface)
	t.Cleanup(func() {
		atOutside.none(t, "inside address", func(f frame) bool { return !f.Sent && fromInside(f) })
		atOutside.none(t, "wrong checksum", func(f frame) bool { return !f.Sent && f.WrongChecksum() != "" })
	})
}

// wait waits for n packets that match.
func (c *capture) wait(t *testing.T, what string, n int, match func(frame) bool) []frame {
	t.Helper()
	var found []frame
	until(t, fmt.Sprintf("capture of %d %s", n, what), func() bool {
		found = c.All(match)
		return len(found) >= n
	})
	return found
}

// none fails if a packet that matches was captured.
func (c *capture) none(t *testing.T, what string, match func(frame) bool) {
	t.Helper()
	for _, f := range c.All(match) {
		t.Errorf("%s captured: %s", what, f)
	}
}

// between matches packets from one address to another.
func between(src, dst netip.Addr) func(frame) bool {
	return func(f frame) bool {
		s, d := f.Addrs()
		return s == src && d == dst
	}
}

// received matches packets that came in for one receiver, but not the neighbours': the host announces multicast groups, and asks for
// the outside's MAC, when it likes.
func received(f frame) bool {
	_, dst := f.Addrs()
	return !f.Sent && dst.IsValid() && !dst.IsMulticast() && !neighbourDiscovery(f)
}

func neighbourDiscovery(f frame) bool {
	icmp := f.ICMPv6()
	return icmp != nil && icmp.TypeCode.Type() >= layers.ICMPv6TypeRouterSolicitation && icmp.TypeCode.Type() <= layers.ICMPv6TypeRedirect
}

// fromInside matches what carries an inside address as source, of IPv4, IPv6 or ARP.
func fromInside(f frame) bool {
	if arp := f.ARP(); arp != nil {
		sender, _ := netip.AddrFromSlice(arp.SourceProtAddress)
		return inside.Contains(sender)
	}
	src, _ := f.Addrs()
	return inside.Contains(src) || insideSix.Contains(src)
}
