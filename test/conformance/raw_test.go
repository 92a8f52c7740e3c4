// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/lab"
	"flyover/test/packet"
	"flyover/test/wire"
)

// raw plays a container and the hosts outside packet by packet. Each packet is known again behind the datapath by an IP
// identification of its own, which a NAT has no reason to change: no packet may be fragmented (RFC 6864 section 4.1). IPv6 has a flow
// label in its place, which nobody may change on the way (RFC 6437 section 3).
type raw struct {
	h      *host
	addr   netip.Addr // the container's
	inside wireEnd
	beyond wireEnd // of the outside
	id     uint32  // of 16 bits
}

// wireEnd is one of the two interfaces that packets are sent and seen at.
type wireEnd struct {
	fd        int
	seen      *capture
	own, next packet.MAC
}

// raw takes a container over. Its stack loses its address, so that it answers nothing.
func (h *host) raw(namespace string) *raw {
	h.t.Helper()
	device, addr, id := "veth-ns1", h.addr.ns1, uint32(0x1000)
	if namespace == "ns2" {
		device, addr, id = "veth-ns2", h.addr.ns2, 0x8000
	}
	r := &raw{
		h:      h,
		addr:   netip.MustParseAddr(addr),
		inside: h.wireEnd(namespace, device, h.mac("", "br1")),
		beyond: h.wireEnd(outside, lab.OutsideInterface, h.mac("", lab.Uplink)),
		id:     id,
	}
	h.run(namespace, "ip", h.addr.flag(), "addr", "flush", "dev", device)
	for _, addr := range []string{h.addr.peer, h.addr.other, h.addr.router} {
		h.run("", "ip", "neigh", "replace", addr, "lladdr", macText(r.beyond.own), "dev", lab.Uplink)
	}
	return r
}

func (h *host) wireEnd(namespace, device string, next packet.MAC) wireEnd {
	h.t.Helper()
	fd, err := wire.Socket(namespace, device, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { unix.Close(fd) })
	return wireEnd{fd, h.capture(namespace, device), h.mac(namespace, device), next}
}

func (e wireEnd) send(h *host, data []byte) {
	h.t.Helper()
	if _, err := unix.Write(e.fd, data); err != nil {
		h.t.Fatal(err)
	}
}

func macText(m packet.MAC) string {
	return net.HardwareAddr(m[:]).String()
}

// at is an end of a flow.
func at(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

// port is an end of a flow at the container.
func (r *raw) port(n uint16) netip.AddrPort {
	return netip.AddrPortFrom(r.addr, n)
}

// packet is a packet from either side, whole and right.
func (r *raw) packet(proto layers.IPProtocol, source, destination netip.AddrPort, data string) *packet.Packet {
	p := packet.New(proto, packet.Ends{Source: source, Destination: destination}, []byte(data))
	dontFragment(p, 64)
	r.number(p)
	return p
}

// number makes the packet one of its own.
func (r *raw) number(p *packet.Packet) {
	r.id++
	if p.IPv6 != nil {
		p.IPv6.FlowLabel = r.id
		return
	}
	p.IPv4.Id = uint16(r.id)
}

// address gives the packet the Ethernet addresses of a way: from one MAC to another.
func address(p *packet.Packet, from, to packet.MAC) {
	p.Ethernet.SrcMAC, p.Ethernet.DstMAC = from[:], to[:]
}

// sendOut sends a packet from the container to the gateway.
func (r *raw) sendOut(p *packet.Packet) {
	r.h.t.Helper()
	address(p, r.inside.own, r.inside.next)
	r.inside.send(r.h, p.Bytes())
}

// sendIn sends a packet from the outside to the host.
func (r *raw) sendIn(p *packet.Packet) {
	r.h.t.Helper()
	address(p, r.beyond.own, r.beyond.next)
	r.beyond.send(r.h, p.Bytes())
}

// atOutside matches a packet from the container where the outside receives it, whatever its source is by then.
func atOutside(p *packet.Packet) func(frame) bool {
	_, destination := p.Addrs()
	return func(f frame) bool {
		_, dst := f.Addrs()
		return same(f, p) && dst == destination
	}
}

// atInside matches a packet from the outside where the container receives it.
func atInside(p *packet.Packet) func(frame) bool {
	source, _ := p.Addrs()
	return func(f frame) bool {
		src, _ := f.Addrs()
		return same(f, p) && src == source
	}
}

func same(f frame, p *packet.Packet) bool {
	if p.IPv6 != nil {
		ip := f.IPv6()
		return !f.Sent && ip != nil && ip.FlowLabel == p.IPv6.FlowLabel && ip.NextHeader == p.IPv6.NextHeader
	}
	ip := f.IPv4()
	return !f.Sent && ip != nil && ip.Id == p.IPv4.Id && ip.Protocol == p.IPv4.Protocol
}

// out sends a packet from the container and wants it at the outside: from the uplink's address and the port that it returns, one
// hop on, and otherwise octet by octet as it was sent.
func (r *raw) out(what string, p *packet.Packet) netip.AddrPort {
	r.h.t.Helper()
	r.sendOut(p)
	got := r.landed(what+" of the container at the outside", r.beyond.seen, atOutside(p))
	if src, _ := got.Addrs(); src.String() != r.h.addr.uplink {
		r.h.Failf("%s leaves with a source that is not the uplink's address", what)
	}
	want := clone(p)
	address(want, r.beyond.next, r.beyond.own)
	oneHopOn(want)
	want.SetSource(got.Source())
	r.whole(what, want.Bytes(), got.Data())
	return got.Source()
}

// in sends a packet from the outside and wants it at the container: for the inside end given, one hop on, and otherwise octet by
// octet as it was sent.
func (r *raw) in(what string, p *packet.Packet, to netip.AddrPort) {
	r.h.t.Helper()
	r.sendIn(p)
	got := r.landed(what+" from the outside at the container", r.inside.seen, atInside(p))
	want := clone(p)
	address(want, r.inside.next, r.inside.own)
	oneHopOn(want)
	want.SetDestination(to)
	r.whole(what, want.Bytes(), got.Data())
}

// delivered sends a packet from the outside and says whether the container receives it.
func (r *raw) delivered(p *packet.Packet) bool {
	r.h.t.Helper()
	r.sendIn(p)
	r.fence()
	return len(r.inside.seen.All(atInside(p))) > 0
}

// notDelivered sends a packet from the outside that nobody inside may receive.
func (r *raw) notDelivered(what string, p *packet.Packet) {
	r.h.t.Helper()
	if r.delivered(p) {
		r.h.Failf("%s is delivered", what)
	}
}

// arrived waits for a packet that somebody sends.
func (r *raw) arrived(what string, at *capture, match func(frame) bool) frame {
	r.h.t.Helper()
	var found []frame
	r.h.until(what, func() bool {
		found = at.All(match)
		return len(found) > 0
	})
	return found[0]
}

// landed wants a packet that was sent already. What has not come when a fence has is not coming.
func (r *raw) landed(what string, at *capture, match func(frame) bool) frame {
	r.h.t.Helper()
	found := at.All(match)
	if len(found) == 0 {
		r.fenced()
		found = at.All(match)
	}
	if len(found) == 0 {
		r.h.Failf("no %s", what)
	}
	return found[0]
}

func (r *raw) whole(what string, want, got []byte) {
	r.h.t.Helper()
	if diff := packet.Diff(want, got); diff != "" {
		r.h.t.Logf("%s, as wanted and as it is: %s", what, diff)
		r.h.Failf("%s arrives changed", what)
	}
}

// fence returns when what was sent before has arrived or will not: an echo goes out and back by the same two interfaces.
func (r *raw) fence() {
	r.h.t.Helper()
	if !r.fenced() {
		r.h.Failf("no echo to a remote and back")
	}
}

// fenced is fence, and says whether it has come back.
func (r *raw) fenced() bool {
	r.h.t.Helper()
	ping := r.packet(r.h.icmp().protocol, r.port(0xfe), at(r.h.addr.router, 0xfe), "")
	r.sendOut(ping)
	var out []frame
	if !comes(func() bool { out = r.beyond.seen.All(atOutside(ping)); return len(out) > 0 }) {
		return false
	}
	reply := r.reply(ping, out[0].Source())
	r.sendIn(reply)
	return comes(func() bool { return len(r.inside.seen.All(atInside(reply))) > 0 })
}

// reply is the answer to an ICMP query, for the identifier that it had outside.
func (r *raw) reply(query *packet.Packet, from netip.AddrPort) *packet.Packet {
	_, remote := query.Addrs()
	p := r.packet(query.Protocol(), netip.AddrPortFrom(remote, from.Port()), from, string(query.Payload))
	p.ICMP.Seq = query.ICMP.Seq
	answer := r.h.icmp().reply
	if query.ICMP.TypeCode.Type() == layers.ICMPv4TypeTimestampRequest {
		answer = layers.ICMPv4TypeTimestampReply
	}
	p.ICMP.TypeCode = layers.CreateICMPv4TypeCode(answer, 0)
	return p
}

// clone is a copy that can be changed.
func clone(p *packet.Packet) *packet.Packet {
	c := *p
	if p.IPv6 != nil {
		ip := *p.IPv6
		c.IPv6 = &ip
	} else {
		ip := *p.IPv4
		c.IPv4 = &ip
	}
	switch {
	case p.TCP != nil:
		tcp := *p.TCP
		c.TCP = &tcp
	case p.UDP != nil:
		udp := *p.UDP
		c.UDP = &udp
	case p.ICMP != nil:
		icmp := *p.ICMP
		c.ICMP = &icmp
	}
	return &c
}
