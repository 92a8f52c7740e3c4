// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

// dontFragment makes the identification meaningless (RFC 6864 section 4.1), for packets that are compared whole. IPv6 has none.
func dontFragment(p *packet.Packet, ttl uint8) *packet.Packet {
	if p.IPv6 != nil {
		p.IPv6.HopLimit = ttl
		return p
	}
	p.IPv4.Flags, p.IPv4.TTL = layers.IPv4DontFragment, ttl
	return p
}

func checkHops(_ *testing.T, h *host) {
	h.upDefault()
	openPath(h).checkHops()
}

// checkHops is the row for the path's family.
func (p *path) checkHops() {
	h := p.h
	p.eachSide(func(s side) {
		for _, ttl := range []uint8{2, 64, 255} {
			mark := p.mark()
			s.send(dontFragment(s.make(mark), ttl).Bytes())
			h.wantFrame(s.at.wait("routed packet", 1, marked(mark))[0], dontFragment(s.seen(mark), ttl-1).Bytes())
		}
	})
	h.part("bridged", func() {
		ends := h.ends(h.mac("ns1", "veth-ns1"), h.mac("ns2", "veth-ns2"), p.inside, p.neighbour)
		for _, ttl := range []uint8{1, 2, 64, 255} {
			mark := p.mark()
			sent := dontFragment(packet.New(layers.IPProtocolUDP, ends, mark), ttl).Bytes()
			p.sendOut(sent)
			h.wantFrame(p.atNS2.wait("bridged packet", 1, marked(mark))[0], sent)
		}
	})
}

// wantFrame compares whole frames.
func (h *host) wantFrame(f frame, want []byte) {
	h.t.Helper()
	if diff := packet.Diff(want, f.Data()); diff != "" {
		h.t.Logf("(-want +got)\n%s", diff)
		h.Failf("the packet is not what it was but for addresses, port, TTL and checksums")
	}
}

func checkTimeExceeded(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	timeExceeded := layers.CreateICMPv4TypeCode(layers.ICMPv4TypeTimeExceeded, layers.ICMPv4CodeTTLExceeded)
	p.eachSide(func(s side) {
		mark := p.mark()
		sent := dontFragment(s.make(mark), 1).Bytes()
		s.send(sent)
		h.wantAnswer(s, timeExceeded, mark, sent)
		p.fence()
		s.at.none("packet whose TTL has run out, at the receiver", func(f frame) bool { return marked(mark)(f) && !isError(f) })
	})
	h.part("multicast", func() {
		mark := p.mark()
		p.sendOut(dontFragment(multicast(h, mark), 1).Bytes())
		p.fence()
		p.atNS1.none("ICMP error about a multicast packet", func(f frame) bool { return isError(f) && marked(mark)(f) })
	})
	h.part("traceroute", func() {
		listener := h.tcpListen(outside, addrOutside+":80")
		echo(listener)
		for _, method := range [][]string{{}, {"-I"}, {"-T", "-p", "80"}} {
			h.wantHops(method, addrGateway, addrOutside)
		}
	})
}

// multicast is a packet of ns1 to a group that nobody has joined.
func multicast(h *host, payload []byte) *packet.Packet {
	ends := h.fromNS1(addr4.path().inside, "239.1.2.3:9")
	ends.DestinationMAC = packet.MAC{1, 0, 0x5e, 1, 2, 3} // RFC 1112 section 6.4
	return packet.New(layers.IPProtocolUDP, ends, payload)
}

var hop = regexp.MustCompile(`(?m)^ *\d+ +(\S+)`)

// wantHops traces from ns2, as ns1 may have got its share of ICMP errors already, and wants to see the gateway, then the outside.
func (h *host) wantHops(method []string, gateway, remote string) {
	h.t.Helper()
	argv := append([]string{"traceroute", "-n", "-q", "1", "-w", "2", "-m", "3"}, method...)
	out := h.run("ns2", append(argv, remote)...)
	var hops []string
	for _, m := range hop.FindAllStringSubmatch(out, -1) {
		hops = append(hops, m[1])
	}
	if !slices.Equal(hops, []string{gateway, remote}) {
		h.t.Log(out)
		h.Failf("traceroute %s shows other hops", fmt.Sprint(method))
	}
}
