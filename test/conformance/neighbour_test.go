// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
	"flyover/test/wire"
)

var neighbourRows = []row{
	{59, "A neighbour solicitation is answered with the right flags, MAC and hop limit, to the asker alone", "RFC 4861 section 7.2.4", "",
		checkNeighbourAnswer},
	{60, "Invalid messages of neighbour discovery are ignored, and so are fragmented ones", "RFC 4861 sections 7.1.1 and 7.1.2; RFC 6980", "",
		checkNeighbourInvalid},
	{61, "Duplicate address detection finds the addresses of others, and not one's own", "RFC 4861 section 7.2.4; RFC 4862 section 5.4", "",
		checkDuplicateAddress},
	{62, "Neighbours that are talked to stay reachable, by answers to unicast solicitations", "RFC 4861 section 7.3", "", checkReachable},
}

func upSegment6(h *host) *segment {
	h.t.Helper()
	h.six = true
	s := upSegment(h)
	// The kernel makes link-local addresses when it has noticed that the link is up, which is up to a second later.
	for namespace, mac := range map[string]packet.MAC{"ns1": s.own, "ns2": s.other, "ns3": s.third} {
		h.until("link-local address of "+namespace, func() bool {
			shown := h.run(namespace, "ip", "-6", "-o", "addr", "show", "dev", "veth-"+namespace, "to", packet.LinkLocal(mac).String())
			return shown != "" && !strings.Contains(shown, "tentative")
		})
	}
	return s
}

// solicitation is one of ns1, from an address, or from none: a probe.
func (s *segment) solicitation(sender, target string) *packet.Packet {
	from := netip.Addr{}
	if sender != "" {
		from = netip.MustParseAddr(sender)
	}
	return packet.Solicitation(s.own, from, netip.MustParseAddr(target))
}

// advertisements matches those that were received.
func advertisements(f frame) bool {
	return isNeighbourMessage(f, layers.ICMPv6TypeNeighborAdvertisement)
}

// solicitations matches those that were received.
func solicitations(f frame) bool { return isNeighbourMessage(f, layers.ICMPv6TypeNeighborSolicitation) }

func isNeighbourMessage(f frame, kind uint8) bool {
	return !f.Sent && f.ICMPv6() != nil && f.ICMPv6().TypeCode.Type() == kind
}

// about matches messages of neighbour discovery about a target.
func about(target string, some func(frame) bool) func(frame) bool {
	addr := netip.MustParseAddr(target)
	return func(f frame) bool {
		return some(f) && len(f.ICMPv6().Payload) >= 20 && bytes.Equal(f.ICMPv6().Payload[4:20], addr.AsSlice())
	}
}

// asksAbout sends frames of ns1 and returns the advertisements of target that ns1 gets.
func (s *segment) asksAbout(target string, frames ...[]byte) []frame {
	s.h.t.Helper()
	answers := about(target, advertisements)
	before := len(s.atNS1.All(answers))
	for _, data := range frames {
		s.send(data)
	}
	s.fence()
	return s.atNS1.All(answers)[before:]
}

// wantAdvertisement wants one answer to a frame of ns1, equal octet by octet to the last one given, or to another.
func (s *segment) wantAdvertisement(target string, asked []byte, want ...*packet.Packet) {
	s.h.t.Helper()
	got := s.asksAbout(target, asked)
	if len(got) != 1 {
		s.h.Failf("%d answers", len(got))
	}
	var diff string
	for _, w := range want {
		if diff = packet.Diff(w.Bytes(), got[0].Data()); diff == "" {
			return
		}
	}
	s.h.t.Logf("(-want +got)\n%s", diff)
	s.h.Failf("the answer is not the one of RFC 4861")
}

// upRouter6 is upSegment6 with a gateway that says that it is a router. The kernel says so only if the interface forwards of its own,
// which it need not from Linux 6.17 on, nor before if all do; the rows are about what a router of either age says.
func upRouter6(h *host) *segment {
	h.t.Helper()
	s := upSegment6(h)
	if !h.ebpf {
		h.run("", "sysctl", "-qw", "net.ipv6.conf.br1.forwarding=1")
	}
	return s
}

// Flags of answers to who has an address, and to who has none yet.
const (
	toSolicitation = packet.Override | packet.Solicited
	toProbe        = packet.Override
)

func checkNeighbourAnswer(_ *testing.T, h *host) {
	s := upRouter6(h)
	own := netip.MustParseAddr(addr6NS1)
	for _, target := range []struct {
		name, addr string
		mac        packet.MAC
		flags      byte
	}{
		{"gateway", addr6Gateway, s.gateway, toSolicitation | packet.Router},
		{"gateway's link-local address", packet.LinkLocal(s.gateway).String(), s.gateway, toSolicitation | packet.Router},
		{"another endpoint", addr6NS2, s.other, toSolicitation},
		{"another endpoint's link-local address", packet.LinkLocal(s.other).String(), s.other, toSolicitation},
	} {
		addr := netip.MustParseAddr(target.addr)
		for _, asker := range []netip.Addr{own, packet.LinkLocal(s.own)} {
			from := ""
			if asker.IsLinkLocalUnicast() {
				from = ", from a link-local address"
			}
			want := packet.Advertisement(target.flags, target.mac, addr, s.own, asker)
			h.part(target.name+from, func() { s.wantAdvertisement(target.addr, s.solicitation(asker.String(), target.addr).Bytes(), want) })
			h.part(target.name+from+", unicast", func() {
				unicast := s.solicitation(asker.String(), target.addr)
				unicast.Ethernet.DstMAC, unicast.IPv6.DstIP = target.mac[:], addr.AsSlice()
				bare := packet.Advertisement(target.flags&^packet.Override, target.mac, addr, s.own, asker)
				bare.Payload = bare.Payload[:20] // who asks by the MAC need not be told it, and is then told nothing new
				s.wantAdvertisement(target.addr, unicast.Bytes(), bare, want)
			})
		}
	}
	h.part("nobody", func() {
		if len(s.asksAbout(unknown6, s.solicitation(addr6NS1, unknown6).Bytes())) > 0 {
			h.Failf("an address that nobody has is answered for")
		}
	})
	toNS1 := func(f frame) bool { return advertisements(f) && bytes.Equal(f.Data()[:6], s.own[:]) }
	for _, at := range []*capture{s.atNS2, s.atNS3} {
		at.none("another endpoint sees the answer", toNS1)
		if h.ebpf {
			at.none("another endpoint sees the question", func(f frame) bool {
				return solicitations(f) && bytes.Equal(f.Data()[6:12], s.own[:])
			})
		}
	}
}

// invalid is what makes a message of neighbour discovery invalid.
type invalid struct {
	name   string
	change func(p *packet.Packet)
	bytes  func(data []byte) []byte // after the checksum has been made
}

// octets of the message as they are sent: its ICMPv6 header is behind 54 of Ethernet and IPv6.
const atICMPv6 = 54

// invalids are those of RFC 4861 sections 7.1.1 and 7.1.2, and of RFC 6980 section 5, that solicitation and advertisement have in common.
func invalids() []invalid {
	payload := func(f func(body []byte) []byte) func(*packet.Packet) {
		return func(p *packet.Packet) { p.Payload = f(p.Payload) }
	}
	return []invalid{
		{name: "hop limit 254", change: func(p *packet.Packet) { p.IPv6.HopLimit = 254 }},
		{name: "hop limit 64", change: func(p *packet.Packet) { p.IPv6.HopLimit = 64 }},
		{name: "code 1", change: func(p *packet.Packet) { p.ICMPv6.TypeCode |= 1 }},
		{name: "wrong checksum", bytes: func(b []byte) []byte { return flip(b, atICMPv6+3) }},
		{name: "20 octets", change: payload(func(b []byte) []byte { return b[:16] })},
		{name: "option of length 0", change: payload(func(b []byte) []byte { b[21] = 0; return b })},
		{name: "another option of length 0", change: payload(func(b []byte) []byte { return append(b, make([]byte, 8)...) })},
		{name: "multicast target", change: payload(func(b []byte) []byte { copy(b[4:], []byte{0xff, 2}); return b })},
		{name: "fragment header", bytes: func(b []byte) []byte { return behindExtension(b, layers.IPProtocolIPv6Fragment, make([]byte, 8)) }},
	}
}

// behindExtension puts an extension header between the base header of a frame and what was behind.
func behindExtension(data []byte, kind layers.IPProtocol, x []byte) []byte {
	x = slices.Clone(x)
	x[0], data[20] = data[20], byte(kind)
	binary.BigEndian.PutUint16(data[18:], binary.BigEndian.Uint16(data[18:])+uint16(len(x)))
	return slices.Insert(data, atICMPv6, x...)
}

func (i invalid) of(p *packet.Packet) []byte {
	if i.change != nil {
		i.change(p)
	}
	if i.bytes != nil {
		return i.bytes(p.Bytes())
	}
	return p.Bytes()
}

// unknown6 is an address that no endpoint has, and a host that believes anything could learn.
const unknown6 = "fd00:15::77"

func checkNeighbourInvalid(_ *testing.T, h *host) {
	s := upSegment6(h)
	valid := func() {
		if len(s.asksAbout(addr6Gateway, s.solicitation(addr6NS1, addr6Gateway).Bytes())) != 1 {
			h.Failf("a valid solicitation is not answered")
		}
	}
	valid()
	for _, i := range invalids() {
		h.part("solicitation, "+i.name, func() {
			target := addr6Gateway
			if i.name == "multicast target" {
				target = "ff02::15:10"
			}
			asked := [][]byte{i.of(s.solicitation(addr6NS1, addr6Gateway)), i.of(s.solicitation(unknown6, addr6Gateway))}
			if len(s.asksAbout(target, asked...)) > 0 || len(s.asksAbout(addr6Gateway)) > 0 {
				h.Failf("is answered")
			}
			if h.run("", "ip", "neigh", "show", unknown6) != "" {
				h.Failf("is learned from")
			}
		})
	}
	for _, probe := range []invalid{
		{name: "probe to all nodes", change: func(p *packet.Packet) {
			p.IPv6.DstIP, p.Ethernet.DstMAC = netip.IPv6LinkLocalAllNodes().AsSlice(), []byte{0x33, 0x33, 0, 0, 0, 1}
		}},
		{name: "probe that tells a MAC", change: func(p *packet.Packet) {
			p.Payload = append(p.Payload, packet.LinkLayer(packet.SourceLinkLayer, s.own)...)
		}},
	} {
		h.part(probe.name, func() {
			if len(s.asksAbout(addr6Gateway, probe.of(s.solicitation("", addr6Gateway)))) > 0 {
				h.Failf("is answered")
			}
		})
	}
	for _, i := range invalids() {
		h.part("advertisement, "+i.name, func() { wantDisbelief(s, i) })
	}
	h.part("solicited advertisement to all", func() {
		wantDisbelief(s, invalid{change: func(p *packet.Packet) {
			p.IPv6.DstIP, p.Ethernet.DstMAC = netip.IPv6LinkLocalAllNodes().AsSlice(), []byte{0x33, 0x33, 0, 0, 0, 1}
		}})
	})
	valid()
}

// wantDisbelief sends an advertisement of ns1 with a MAC that is nobody's, to ns2, which knows ns1 already, and wants it to have no effect.
func wantDisbelief(s *segment, i invalid) {
	h := s.h
	h.t.Helper()
	own, mac := netip.MustParseAddr(addr6NS1), packet.MAC{2, 0, 0, 0, 0, 0x99}
	h.run("ns2", "ip", "neigh", "replace", addr6NS1, "lladdr", macText(s.own), "nud", "reachable", "dev", "veth-ns2")
	a := packet.Advertisement(toSolicitation, mac, own, s.other, netip.MustParseAddr(addr6NS2))
	a.Ethernet.SrcMAC = s.own[:]
	s.send(i.of(a))
	s.fence()
	if strings.Contains(h.run("ns2", "ip", "neigh", "show", addr6NS1), macText(mac)) {
		h.Failf("is believed")
	}
}

func checkDuplicateAddress(_ *testing.T, h *host) {
	s := upRouter6(h)
	local, gatewayLocal, otherLocal := packet.LinkLocal(s.own), packet.LinkLocal(s.gateway), packet.LinkLocal(s.other)
	for _, own := range []string{addr6NS1, local.String()} {
		if len(s.asksAbout(own, s.solicitation("", own).Bytes())) > 0 {
			h.Failf("a probe for the endpoint's own address is answered")
		}
	}
	for _, taken := range []struct {
		name  string
		addr  netip.Addr
		mac   packet.MAC
		flags byte
	}{
		{"another endpoint", netip.MustParseAddr(addr6NS2), s.other, toProbe},
		{"another endpoint's link-local address", otherLocal, s.other, toProbe},
		{"gateway", netip.MustParseAddr(addr6Gateway), s.gateway, toProbe | packet.Router},
		{"gateway's link-local address", gatewayLocal, s.gateway, toProbe | packet.Router},
	} {
		h.part("probe for "+taken.name, func() {
			s.wantAdvertisement(taken.addr.String(), s.solicitation("", taken.addr.String()).Bytes(),
				packet.Advertisement(taken.flags, taken.mac, taken.addr, packet.MAC{}, netip.Addr{}))
		})
	}
	// Now a stack asks, which flyover tells not to.
	h.run("ns1", "sysctl", "-qw", "net.ipv6.conf.veth-ns1.accept_dad=1")
	h.part("stack, own address", func() {
		h.run("ns1", "ip", "addr", "del", addr6NS1+"/64", "dev", "veth-ns1")
		if h.detects(addr6NS1) {
			h.Failf("dadfailed")
		}
	})
	for _, taken := range []string{addr6NS2, addr6Gateway} {
		h.part("stack, "+taken, func() {
			if !h.detects(taken) {
				h.Failf("no dadfailed")
			}
		})
	}
}

// detects adds an address to ns1 and says whether duplicate address detection refuses it.
func (h *host) detects(addr string) bool {
	h.t.Helper()
	h.run("ns1", "ip", "addr", "add", addr+"/64", "dev", "veth-ns1")
	var shown string
	h.until("end of duplicate address detection", func() bool {
		shown = h.run("ns1", "ip", "-6", "-o", "addr", "show", "dev", "veth-ns1", "to", addr)
		return strings.Contains(shown, "dadfailed") || !strings.Contains(shown, "tentative")
	})
	return strings.Contains(shown, "dadfailed")
}

// probesWanted is how often each neighbour has to answer.
const probesWanted = 3

// checkReachable lets ns1 believe for half a second and less what it would believe for half a minute: so ten minutes take seconds. UDP it
// is, as the answers of TCP and of ping would tell the stack that the neighbour is there without asking.
func checkReachable(_ *testing.T, h *host) {
	h.upBoth("")
	for key, value := range map[string]string{"base_reachable_time_ms": "300", "delay_first_probe_time": "0", "retrans_time_ms": "500"} {
		h.run("ns1", "sysctl", "-qw", "net.ipv6.neigh.veth-ns1."+key+"="+value)
	}
	seen := h.capture("ns1", "veth-ns1")
	client := h.udp("ns1", at(addr6NS1, 7000).String())
	for _, way := range []struct{ neighbour, namespace, remote string }{
		{addr6NS2, "ns2", at(addr6NS2, 7).String()}, {addr6Gateway, outside, at(addr6Outside, 7).String()},
	} {
		neighbour := way.neighbour
		h.part(neighbour, func() {
			h.udp(way.namespace, way.remote) // else ICMPv6 errors would come back
			h.until("answers to unicast solicitations", func() bool {
				h.send(client, way.remote, []byte("there"))
				state := h.run("ns1", "ip", "-6", "neigh", "show", neighbour)
				if strings.Contains(state, "FAILED") {
					h.Failf("is FAILED")
				}
				return h.answered(seen, neighbour) >= probesWanted && strings.Contains(state, "REACHABLE")
			})
			seen.none("a unicast solicitation is answered as none", func(f frame) bool {
				return about(neighbour, advertisements)(f) && f.ICMPv6().Payload[0]&packet.Solicited == 0
			})
		})
	}
}

// answered is how many of the solicitations that ns1 has sent to a neighbour's own address have their answer behind them.
func (h *host) answered(at *capture, neighbour string) int {
	h.t.Helper()
	n, asked := 0, false
	for _, f := range at.All(func(f wire.Frame) bool { return f.ICMPv6() != nil }) {
		_, dst := f.Addrs()
		switch {
		case f.Sent && f.ICMPv6().TypeCode.Type() == layers.ICMPv6TypeNeighborSolicitation && dst.String() == neighbour:
			asked = true
		case asked && about(neighbour, advertisements)(f):
			asked = false
			n++
		}
	}
	return n
}
