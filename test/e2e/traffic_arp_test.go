// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// What a namespace asks by ARP is answered by the datapath and concerns nobody else.
func TestTrafficARPStaysHome(t *testing.T) {
	overEBPF(t, func(t *testing.T, _ variant) {
		before := status(t)
		atNS1, atNS2 := openCapture(t, "ns1", "veth-ns1"), openCapture(t, "ns2", "veth-ns2")
		for _, target := range []netip.Addr{addrGateway, addrNS2} {
			if out, err := arping(target); err != nil {
				t.Errorf("%s is not answered:\n%s", target, out)
			}
		}
		for _, target := range []netip.Addr{addrUnassigned, addrNS1} {
			if out, err := arping(target); err == nil {
				t.Errorf("%s is answered:\n%s", target, out)
			}
		}
		countedMore(t, before, "ANSWER_ARP", 2)
		countedMore(t, before, "DROP_ARP_TARGET", 1)
		countedMore(t, before, "DROP_ARP_OWN", 1)

		answers := atNS1.wait(t, "ARP replies", 2, func(f frame) bool { return f.ARP() != nil && !f.Sent })
		owners := map[netip.Addr]string{addrGateway: macOf(t, "", "br1"), addrNS2: macOf(t, "ns2", "veth-ns2")}
		for _, answer := range answers {
			checkARPReply(t, answer, owners)
		}
		fence(t, atNS2)
		atNS2.none(t, "ARP request of ns1", arpRequest)
	})
}

// Resolution by the stack of the namespace, as in everyday use.
func TestTrafficARPOfStack(t *testing.T) {
	overEBPF(t, func(t *testing.T, _ variant) {
		atNS2 := openCapture(t, "ns2", "veth-ns2")
		for range 5 {
			run(t, "ns1", "ip", "neigh", "flush", "all")
			run(t, "ns1", "ping", "-c", "1", "-W", "5", addrNS2.String())
			run(t, "ns1", "ping", "-c", "1", "-W", "5", addrGateway.String())
		}
		if _, err := try("ns1", "ping", "-c", "1", "-W", "1", addrUnassigned.String()); err == nil {
			t.Errorf("%s answers", addrUnassigned)
		}
		fence(t, atNS2)
		atNS2.none(t, "ARP request of ns1", arpRequest)
		neighbour, mac := run(t, "ns1", "ip", "neigh", "show", addrNS2.String()), macOf(t, "ns2", "veth-ns2")
		if !strings.Contains(neighbour, mac) {
			t.Errorf("ns1 knows ns2 as %s, want %s", neighbour, mac)
		}
	})
}

// The incumbent floods each request, which is why it does not stand in the tests above. This is the proof that they could fail.
func TestTrafficARPIsFloodedByKernel(t *testing.T) {
	over(t, func(t *testing.T, _ variant) {
		atNS2 := openCapture(t, "ns2", "veth-ns2")
		if out, err := arping(addrGateway); err != nil {
			t.Errorf("%s is not answered:\n%s", addrGateway, out)
		}
		atNS2.wait(t, "ARP request of ns1", 1, arpRequest)
	}, kernel)
}

// arping sends one request from ns1 and fails when nobody answers within a second. It takes the options that every arping knows.
func arping(target netip.Addr) (string, error) {
	return try("ns1", "arping", "-c", "1", "-w", "1", "-I", "veth-ns1", target.String())
}

// arpRequest matches requests that came in. Replies do come in: they answer what the namespace itself asks.
func arpRequest(f frame) bool {
	return f.ARP() != nil && !f.Sent && f.ARP().Operation == layers.ARPRequest
}

// checkARPReply compares all fields with RFC 826.
func checkARPReply(t *testing.T, f frame, owners map[netip.Addr]string) {
	t.Helper()
	arp := f.ARP()
	sender, _ := netip.AddrFromSlice(arp.SourceProtAddress)
	target, _ := netip.AddrFromSlice(arp.DstProtAddress)
	owner, err := net.ParseMAC(owners[sender])
	if err != nil {
		t.Errorf("ARP reply for %s: %s", sender, f)
		return
	}
	asker, err := net.ParseMAC(macOf(t, "ns1", "veth-ns1"))
	if err != nil {
		t.Fatal(err)
	}
	eth := f.LinkLayer().(*layers.Ethernet)
	if arp.Operation != layers.ARPReply || target != addrNS1 ||
		!bytes.Equal(arp.SourceHwAddress, owner) || !bytes.Equal(arp.DstHwAddress, asker) ||
		!bytes.Equal(eth.SrcMAC, owner) || !bytes.Equal(eth.DstMAC, asker) {
		t.Errorf("ARP reply for %s, owner %s, asker %s: %s", sender, owner, asker, f)
	}
}

// fence waits until what ns1 sends now has been captured in ns2, and so all that was sent before.
func fence(t *testing.T, atNS2 *capture) {
	t.Helper()
	match := func(f frame) bool { return !f.Sent && between(addrNS1, addrNS2)(f) }
	already := len(atNS2.All(match))
	run(t, "ns1", "ping", "-c", "1", "-W", "5", addrNS2.String())
	atNS2.wait(t, "ping of ns1", already+1, match)
}
