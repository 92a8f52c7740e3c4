// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"flyover/test/lab"
)

// Whatever ns1 sends to the outside, no inside address gets there: translated or dropped. The kernel's masquerade translates the
// address of any protocol and whole datagrams; the eBPF datapath drops what it cannot translate, and says so.
func TestTrafficNothingLeaks(t *testing.T) {
	overAll(t, func(t *testing.T, v variant) {
		atOutside := openCapture(t, outside, lab.OutsideInterface)
		i := injectorInNS1(t)
		// The packets go by way of the stack, which has to know the outside's MAC first, lest it queues and drops.
		run(t, "", "ping", "-c", "1", "-W", "5", addrOutside.String())
		before := status(t)
		const datagrams = 3
		for range datagrams {
			sendFragmented(t)
		}
		protocols := []layers.IPProtocol{2, 4, layers.IPProtocolGRE, layers.IPProtocolESP, layers.IPProtocolAH, 253}
		if v.ebpf {
			// Garbage that claims to be SCTP is invalid to the kernel's connection tracking, and what is invalid, it does not
			// translate and lets pass. So it does with an ICMP error about nothing, below.
			protocols = append(protocols, layers.IPProtocolSCTP)
		}
		for _, proto := range protocols {
			i.send(t, ethernet(i.own, i.gateway, layers.EthernetTypeIPv4), ipv4(addrNS1, addrOutside, proto), gopacket.Payload(payload(64)))
		}
		if v.ebpf {
			i.send(t, ethernet(i.own, i.gateway, layers.EthernetTypeIPv4), ipv4(addrNS1, addrOutside, layers.IPProtocolICMPv4),
				&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4)}, gopacket.Payload(payload(28)))
			countedMore(t, before, "to_uplink DROP_PROTOCOL", uint64(len(protocols)))
			countedMore(t, before, "from_endpoint FORWARD_OUTSIDE", 3*datagrams)
			countedMore(t, before, "to_uplink DROP_ICMP", 1)
		}
		run(t, "ns1", "ping", "-c", "1", "-W", "5", addrOutside.String())
		atOutside.wait(t, "ping", 1, func(f frame) bool { return received(f) && f.Layer(layers.LayerTypeICMPv4) != nil })
		atOutside.none(t, "inside address", func(f frame) bool { return !f.Sent && fromInside(f) })
	})
}

// sendFragmented sends a datagram of ns1 that takes three fragments.
func sendFragmented(t *testing.T) {
	t.Helper()
	conn := udpAt(t, inNS1, 0)
	if _, err := conn.WriteToUDPAddrPort(payload(3000), netip.AddrPortFrom(addrOutside, 9)); err != nil {
		t.Fatal(err)
	}
}

// Packets with options take the slow path, and are translated there.
func TestTrafficOptionsAreTranslated(t *testing.T) {
	overAll(t, func(t *testing.T, v variant) {
		atOutside := openCapture(t, outside, lab.OutsideInterface)
		i := injectorInNS1(t)
		before := status(t)
		packet := udp(addrNS1, addrOutside)
		packet[0].(*layers.IPv4).Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 1}}
		i.send(t, append([]gopacket.SerializableLayer{ethernet(i.own, i.gateway, layers.EthernetTypeIPv4)}, packet...)...)
		marked := func(f frame) bool {
			return !f.Sent && f.TransportLayer() != nil && bytes.Contains(f.Data(), []byte(marker))
		}
		f := atOutside.wait(t, "marked packet", 1, marked)[0]
		if src, _ := f.Addrs(); src != addrUplink || f.IPv4().TTL != 63 || f.IPv4().IHL != 6 {
			t.Errorf("the outside saw %s", f)
		}
		checksumsHold(t, f)
		if v.ebpf {
			countedMore(t, before, "from_endpoint PASS_OPTIONS", 1)
			countedMore(t, before, "to_uplink PASS_TO_UPLINK", 1)
		}
	})
}

// An outside that routes the inside addresses to the host does not reach them. It does with the kernel's masquerade, which is no
// filter: the host forwards for its network, and what goes back belongs to no translated connection and shows the inside address.
func TestTrafficUnsolicited(t *testing.T) {
	overEBPF(t, func(t *testing.T, _ variant) {
		run(t, "", "ip", "-n", outside, "route", "add", inside.String(), "via", addrUplink.String())
		atNS1, captured := openCapture(t, "ns1", "veth-ns1"), openCapture(t, outside, lab.OutsideInterface)
		before := status(t)
		probe := udpAt(t, atOutside, 0)
		const datagrams = 3
		for range datagrams {
			// Of two fragments, the second of which says nothing of ports.
			if _, err := probe.WriteToUDPAddrPort(payload(2000), netip.AddrPortFrom(addrNS1, 9)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := try(outside, "ping", "-c", "1", "-W", "1", addrNS1.String()); err == nil {
			t.Error("an inside address answers the outside")
		}
		countedMore(t, before, "from_uplink DROP_UNSOLICITED", 2*datagrams+1)
		run(t, "ns1", "ping", "-c", "1", "-W", "5", addrOutside.String())
		isReply := func(f frame) bool {
			icmp, ok := f.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			return ok && received(f) && icmp.TypeCode.Type() == layers.ICMPv4TypeEchoReply
		}
		atNS1.wait(t, "reply to ns1's own ping", 1, isReply)
		if n := len(atNS1.All(received)); n != 1 {
			t.Errorf("ns1 received %d packets, want the reply to its own ping alone", n)
		}
		captured.none(t, "inside address", func(f frame) bool { return !f.Sent && fromInside(f) })
	})
}

// The same as above is delivered with the kernel's masquerade. This is the proof that the test above could fail.
func TestTrafficUnsolicitedByKernel(t *testing.T) {
	over(t, func(t *testing.T, _ variant) {
		run(t, "", "ip", "-n", outside, "route", "add", inside.String(), "via", addrUplink.String())
		run(t, outside, "ping", "-c", "1", "-W", "5", addrNS1.String())
	}, kernel)
}
