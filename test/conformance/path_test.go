// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/lab"
	"flyover/test/packet"
	"flyover/test/wire"
)

// path is a UDP flow of ns1 with a server outside that has worked in both directions, so that all neighbours are known, and
// captures at its ends. What a row then injects belongs to the flow.
type path struct {
	h *host
	pathEnds
	client, server *net.UDPConn
	mapped         string // the client as the server sees it, "address:port"
	atNS1, atNS2   *capture
	marks          int // given out so far
}

// pathEnds are the ends of a path apart from the one that the datapath chooses, and who routes.
type pathEnds struct {
	inside, remote  string // "address:port"
	gateway, uplink string
	neighbour       string // ns2's end, "address:port"
}

// path has the ends of a path of the family.
func (a addresses) path() pathEnds {
	return pathEnds{at(a.ns1, 5000).String(), at(a.outside, 3478).String(), a.gateway, a.uplink, at(a.ns2, 9).String()}
}

// openPath opens one of the family that the row is about. It brings no network up; that is the row's.
func openPath(h *host) *path { h.t.Helper(); return openPathOf(h, h.addr) }

// openPathOf is openPath for either family.
func openPathOf(h *host, family addresses) *path {
	h.t.Helper()
	p := &path{h: h, pathEnds: family.path(), atNS1: h.capture("ns1", "veth-ns1"), atNS2: h.capture("ns2", "veth-ns2")}
	p.client, p.server = h.udp("ns1", p.inside), h.udp(outside, p.remote)
	p.exchange()
	return p
}

// exchange finds out how the client is mapped, and which neighbours there are.
func (p *path) exchange() {
	h := p.h
	h.t.Helper()
	h.send(p.client, p.remote, []byte("there"))
	_, mapped := h.receive(p.server, "datagram outside")
	p.mapped = mapped.String()
	h.send(p.server, p.mapped, []byte("and back"))
	h.receive(p.client, "datagram inside")
	h.fence("ns2")
}

// mark is a payload that no other packet of the path has.
func (p *path) mark() []byte {
	p.marks++
	return fmt.Appendf(nil, "<mark %06d>", p.marks)
}

// marked matches what was received with a mark in it, in an ICMP error's quotation too.
func marked(mark []byte) func(frame) bool {
	return func(f frame) bool { return !f.Sent && bytes.Contains(f.Data(), mark) }
}

// out is a packet of the flow as ns1 sends it, to be routed.
func (p *path) out(payload []byte) *packet.Packet {
	return packet.New(layers.IPProtocolUDP, p.h.fromNS1(p.inside, p.remote), payload)
}

// in is a packet of the flow as the outside sends it.
func (p *path) in(payload []byte) *packet.Packet {
	return packet.New(layers.IPProtocolUDP, p.h.fromOutside(p.remote, p.mapped), payload)
}

// outSeen is out as the outside receives it, with the TTL that it had.
func (p *path) outSeen(payload []byte) *packet.Packet {
	ends := p.h.ends(p.h.mac("", lab.Uplink), p.h.mac(outside, lab.OutsideInterface), p.mapped, p.remote)
	return packet.New(layers.IPProtocolUDP, ends, payload)
}

// inSeen is in as ns1 receives it, with the TTL that it had.
func (p *path) inSeen(payload []byte) *packet.Packet {
	ends := p.h.ends(p.h.mac("", "br1"), p.h.mac("ns1", "veth-ns1"), p.remote, p.inside)
	return packet.New(layers.IPProtocolUDP, ends, payload)
}

// sendOut sends a frame of ns1.
func (p *path) sendOut(data []byte) { p.h.t.Helper(); p.h.inject("ns1", "veth-ns1", data) }

// sendIn sends a frame of the outside.
func (p *path) sendIn(data []byte) { p.h.t.Helper(); p.h.inject(outside, lab.OutsideInterface, data) }

// fence returns when the packets that the path carried before have arrived or will not, by a packet of the flow each way.
func (p *path) fence() {
	p.h.t.Helper()
	out, in := p.mark(), p.mark()
	p.sendOut(p.out(out).Bytes())
	p.h.atOutside.wait("further packet of the flow outside", 1, marked(out))
	p.sendIn(p.in(in).Bytes())
	p.atNS1.wait("further packet of the flow inside", 1, marked(in))
}

// side is one direction of the path: how to send by it, and where it ends. Rows check the same of both.
type side struct {
	name       string
	send       func(data []byte)
	make, seen func(payload []byte) *packet.Packet
	at         *capture // at the receiver
	answers    *capture // at the sender
	router     string   // who answers the sender
	receiver   *net.UDPConn
	sender     string // as the receiver sees it, "address:port"
}

func (p *path) sides() []side {
	return []side{
		{"outward", p.sendOut, p.out, p.outSeen, p.h.atOutside, p.atNS1, p.gateway, p.server, p.mapped},
		{"inward", p.sendIn, p.in, p.inSeen, p.atNS1, p.h.atOutside, p.uplink, p.client, p.remote},
	}
}

// eachSide makes each direction a part of the row.
func (p *path) eachSide(check func(s side)) {
	for _, s := range p.sides() {
		p.h.part(s.name, func() { check(s) })
	}
}

// header changes the octets of a frame's IPv4 header and mends its checksum.
func header(data []byte, change func(ip []byte)) []byte {
	ip := data[14:34]
	change(ip)
	ip[10], ip[11] = 0, 0
	sum := ^wire.Sum(data[14 : 14+max(20, int(ip[0]&15)*4)])
	ip[10], ip[11] = byte(sum>>8), byte(sum)
	return data
}

// isError matches received ICMP errors; RFC 1122 section 3.2.2 has the list, and RFC 4443 section 2.1 those of IPv6.
func isError(f frame) bool {
	if icmp := f.ICMPv6(); icmp != nil && !f.Sent {
		return icmp.TypeCode.Type() < layers.ICMPv6TypeEchoRequest
	}
	if f.Sent || f.ICMP() == nil {
		return false
	}
	switch f.ICMP().TypeCode.Type() {
	case layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4TypeSourceQuench, layers.ICMPv4TypeRedirect,
		layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem:
		return true
	}
	return false
}

// errorAbout matches received ICMP errors of a type and code that quote a mark.
func errorAbout(typeCode layers.ICMPv4TypeCode, mark []byte) func(frame) bool {
	return func(f frame) bool {
		return isError(f) && f.ICMP().TypeCode == typeCode && bytes.Contains(f.Data(), mark)
	}
}

// wantQuote checks that an ICMP error quotes the frame that it is about as its sender has sent it, except for a UDP checksum, which
// nobody may rely on if the packet was translated (RFC 5508 section 3.1).
func (h *host) wantQuote(f frame, sent []byte) {
	h.t.Helper()
	quote, want := f.ICMP().Payload, sent[14:]
	if len(quote) < 28 || len(quote) > len(want) {
		h.t.Logf("quotation of %d octets, packet of %d: %s", len(quote), len(want), f)
		h.Failf("an ICMP error quotes too much or too little")
	}
	want = append([]byte(nil), want[:len(quote)]...)
	if at := int(want[0]&15) * 4; want[9] == unix.IPPROTO_UDP {
		copy(want[at+6:at+8], quote[at+6:at+8])
	}
	if !bytes.Equal(quote, want) {
		h.t.Logf("quotation\n%x, want\n%x", quote, want)
		h.Failf("an ICMP error does not quote the packet as its sender has sent it")
	}
}

// wantAnswer waits for the ICMP error about a frame, and checks who answers whom, and about what.
func (h *host) wantAnswer(s side, typeCode layers.ICMPv4TypeCode, mark, sent []byte) frame {
	h.t.Helper()
	f := s.answers.wait(fmt.Sprintf("ICMP error %v", typeCode), 1, errorAbout(typeCode, mark))[0]
	from, to := f.Addrs()
	if from != netip.MustParseAddr(s.router) || to != netip.AddrFrom4([4]byte(sent[26:30])) || f.WrongChecksum() != "" {
		h.t.Logf("answer: %s", f)
		h.Failf("an ICMP error is not from %s to the sender, or its checksum is wrong", s.router)
	}
	h.wantQuote(f, sent)
	return f
}
