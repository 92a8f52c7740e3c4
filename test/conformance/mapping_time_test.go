// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/lab"
	"flyover/test/packet"
)

// delivers says whether a datagram of the outside is delivered to ns1, by looking at the interface: the socket may be closed.
func (h *host) delivers(atNS1 *capture, from, to string) bool {
	h.t.Helper()
	mark := newMark()
	h.inject(outside, lab.OutsideInterface, packet.New(layers.IPProtocolUDP, h.fromOutside(from, to), mark).Bytes())
	h.fence("ns1")
	return len(atNS1.All(marked(mark))) > 0
}

func checkFiltering(_ *testing.T, h *host) {
	h.upDefault()
	remotes := h.addr.remotes()
	atNS1 := h.capture("ns1", "veth-ns1")
	h.part("by default", func() {
		to := h.mappedAt(5000, remotes[0])
		if !h.delivers(atNS1, remotes[1], to) {
			h.Failf("UDP from another port of a remote that the endpoint has sent to is dropped")
		}
		if h.delivers(atNS1, remotes[2], to) {
			h.Failf("UDP from a remote that the endpoint has not sent to is delivered")
		}
	})
	h.part("TCP by default", func() {
		to := h.tcpMapped("ns1", at(h.addr.ns1, 6000).String(), at(h.addr.outside, 80).String()).String()
		if !h.opens(atNS1, at(h.addr.outside, 9999).String(), to) {
			h.Failf("SYN from another port of a remote that the endpoint has connected to is dropped")
		}
		if h.opens(atNS1, at(h.addr.second, 9999).String(), to) {
			h.Failf("SYN from a remote that the endpoint has not connected to is delivered")
		}
	})
	if !h.ebpf {
		return // nothing to configure
	}
	h.part("configured endpoint-independent", func() {
		h.up("filtering: endpoint-independent")
		if to := h.mappedAt(5001, remotes[0]); !h.delivers(atNS1, remotes[2], to) {
			h.Failf("UDP from another remote is dropped")
		}
		if to := h.tcpMapped("ns1", at(h.addr.ns1, 6001).String(), at(h.addr.outside, 80).String()).String(); !h.opens(atNS1, at(h.addr.second, 9999).String(), to) {
			h.Failf("SYN from another remote is dropped")
		}
	})
}

// mappedAt makes a mapping for a source port of ns1 and returns it as "address:port".
func (h *host) mappedAt(source uint16, remote string) string {
	h.t.Helper()
	return at(h.addr.uplink, h.mapped(h.udp("ns1", at(h.addr.ns1, source).String()), remote)).String()
}

// opens is delivers for a TCP SYN.
func (h *host) opens(atNS1 *capture, from, to string) bool {
	h.t.Helper()
	p := packet.New(layers.IPProtocolTCP, h.fromOutside(from, to), nil)
	p.TCP.SYN, p.TCP.ACK, p.TCP.Ack = true, false, 0
	h.inject(outside, lab.OutsideInterface, p.Bytes())
	h.fence("ns1")
	return len(atNS1.All(func(f frame) bool { return f.TCP() != nil && f.TCP().SYN && flow(from, "")(f) })) > 0
}

// A datagram from outside after each idle time, to a mapping of its own.
func checkUDPTimer(_ *testing.T, h *host) {
	h.upDefault()
	remotes := h.addr.remotes()
	h.udpServers(remotes)
	atNS1 := h.capture("ns1", "veth-ns1")
	idle := func(name string, source uint16, seconds time.Duration, want bool) {
		h.part(name, func() {
			to := h.mappedAt(source, remotes[0])
			h.age(seconds * time.Second)
			switch {
			case want && !h.delivers(atNS1, remotes[0], to):
				h.Failf("mapping has ended")
			case !want && h.delivers(atNS1, remotes[0], to):
				h.Failf("mapping lives")
			}
		})
	}
	idle("after 118 s", 5000, 118, true)
	idle("after 295 s", 5001, 295, true)
	idle("after 305 s", 5002, 305, false)
}

func checkRefresh(_ *testing.T, h *host) {
	h.upDefault()
	remotes := h.addr.remotes()
	server := h.udp(outside, remotes[0])
	atNS1 := h.capture("ns1", "veth-ns1")
	h.part("outbound", func() {
		client := h.udp("ns1", at(h.addr.ns1, 5000).String())
		port := h.mapped(client, remotes[0])
		for range 12 {
			h.age(100 * time.Second)
			if h.mapped(client, remotes[0]) != port {
				h.Failf("a datagram each 100 s does not keep the port")
			}
		}
		if !h.delivers(atNS1, remotes[0], at(h.addr.uplink, port).String()) {
			h.Failf("a datagram each 100 s for 20 minutes does not keep the mapping")
		}
	})
	h.part("inbound", func() {
		client := h.udp("ns1", at(h.addr.ns1, 5001).String())
		port := h.mapped(client, remotes[0])
		for range 14 { // each in less than the 30 s that Linux gives
			h.send(server, at(h.addr.uplink, port).String(), []byte("again"))
			h.fence("ns1")
			h.age(25 * time.Second)
		}
		if h.delivers(atNS1, remotes[0], at(h.addr.uplink, port).String()) {
			h.Failf("datagrams from outside keep a mapping alive for 350 s")
		}
	})
}

func checkErrorRefresh(_ *testing.T, h *host) {
	h.upDefault()
	h.run("ns1", "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
	atNS1 := h.capture("ns1", "veth-ns1")
	h.part("ICMP error", func() { checkUnreachableRefresh(h, atNS1) })
	h.part("RST", func() { checkResetRefresh(h, atNS1) })
}

// The endpoint's socket is gone: its stack answers each datagram by "port unreachable".
func checkUnreachableRefresh(h *host, atNS1 *capture) {
	h.t.Helper()
	remotes := h.addr.remotes()
	h.udpServers(remotes)
	client := h.udp("ns1", at(h.addr.ns1, 5000).String())
	to := at(h.addr.uplink, h.mapped(client, remotes[0])).String()
	client.Close()
	answered := func(f frame) bool {
		return f.Sent && f.Message() != nil && f.Message().TypeCode == h.icmp().portUnreachable.typeCode()
	}
	for i := range 14 {
		if h.delivers(atNS1, remotes[0], to) && len(atNS1.All(answered)) < i+1 {
			h.t.Fatal("the endpoint's stack does not answer by an ICMP error")
		}
		h.age(25 * time.Second)
	}
	if h.delivers(atNS1, remotes[0], to) {
		h.Failf("datagrams that the endpoint answers by ICMP errors keep a mapping alive for 350 s")
	}
}

// The endpoint's stack knows nothing of the connection that the test opens: it answers each segment by RST.
func checkResetRefresh(h *host, atNS1 *capture) {
	h.t.Helper()
	remote := at(h.addr.outside, 80).String()
	h.run(outside, "nft", "add table inet silent; add chain inet silent out { type filter hook output priority 0; }; "+
		"add rule inet silent out tcp sport 80 drop") // only the test answers there
	syn := packet.New(layers.IPProtocolTCP, h.fromNS1(at(h.addr.ns1, 6000).String(), remote), nil)
	syn.TCP.SYN, syn.TCP.ACK, syn.TCP.Seq, syn.TCP.Ack = true, false, 100, 0
	h.inject("ns1", "veth-ns1", syn.Bytes())
	out := h.atOutside.wait("SYN at the outside", 1, func(f frame) bool { return flow("", remote)(f) && f.TCP() != nil })[0]
	for range 6 {
		h.segment(atNS1, remote, out.Source())
		h.age(60 * time.Second)
	}
	if h.segment(atNS1, remote, out.Source()) {
		h.Failf("segments that the endpoint answers by RST keep a mapping alive for 360 s")
	}
}

// segment sends a SYN-ACK to the connection of the SYN 100, and says whether it is delivered.
func (h *host) segment(atNS1 *capture, from string, to netip.AddrPort) bool {
	h.t.Helper()
	p := packet.New(layers.IPProtocolTCP, h.fromOutside(from, to.String()), nil)
	p.TCP.SYN, p.TCP.Seq, p.TCP.Ack = true, 500, 101
	match := func(f frame) bool { return f.TCP() != nil && flow(from, at(h.addr.ns1, 0).String())(f) }
	before := len(atNS1.All(match))
	h.inject(outside, lab.OutsideInterface, p.Bytes())
	h.fence("ns1")
	return len(atNS1.All(match)) > before
}
