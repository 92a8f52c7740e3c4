// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// quote is the packet that an ICMP error is about.
type quote struct {
	ip, l4   int // offsets in the frame
	src, dst netip.Addr
	proto    uint8
	// Ports; of an ICMP query the identifier, and 0.
	sport, dport uint16
}

// quoteOf reads as much of a quotation as every error has to have: the IP header and 8 octets (RFC 792, RFC 4443).
func quoteOf(p *packet) (quote, bool) {
	q := quote{ip: p.l4 + 8}
	about := q.parse4
	if p.six() {
		about = q.parse6
	}
	if !about(p.frame[:p.end]) || q.l4+8 > p.end {
		return q, false
	}
	l4 := p.frame[q.l4:]
	switch {
	case q.proto == tcp || q.proto == udp:
		q.sport, q.dport = be16(l4), be16(l4[2:])
		return q, true
	case q.proto == p.icmp() && (isRequest(p.six(), l4[0]) || isReply(p.six(), l4[0])):
		q.sport = be16(l4[4:])
		return q, true
	}
	return q, false
}

// parse4 finds the quoted transport header behind one of IPv4.
func (q *quote) parse4(message []byte) bool {
	if len(message) < q.ip+20 {
		return false
	}
	ip := message[q.ip:]
	header := int(ip[0]&15) * 4
	q.src, q.dst, q.proto, q.l4 = addrAt(ip[12:]), addrAt(ip[16:]), ip[9], q.ip+header
	return ip[0]>>4 == 4 && header >= 20 && be16(ip[6:])&0x1fff == 0
}

// parse6 finds it behind one of IPv6, which may have been cut off.
func (q *quote) parse6(message []byte) bool {
	if len(message) < q.ip+40 {
		return false
	}
	ip := message[q.ip:]
	inner := packet{frame: message, proto: ip[6], l4: q.ip + 40, end: len(message)}
	if ip[0]>>4 != 6 || inner.walk() != "" || inner.offset > 0 || inner.l4 > farthest-8 {
		return false
	}
	q.src, q.dst, q.proto, q.l4 = addr6At(ip[8:]), addr6At(ip[24:]), inner.proto, inner.l4
	return true
}

// translateQuote changes one end of what is quoted. A quoted header of IPv4 sums up to the same as before, so that the message's checksum
// changes by the port alone; one of IPv6 has no checksum. The quoted transport checksum is left, since it may be cut off.
func (e edit) translateQuote(p *packet, q quote, which end, to netip.AddrPort) {
	port, check := binary.BigEndian.AppendUint16(nil, to.Port()), e[p.l4+2:p.l4+4]
	ip := e[q.ip:]
	field := q.l4 + 2*int(which)
	if q.proto == p.icmp() {
		field = q.l4 + 4
	}
	if p.six() {
		swap(e.addressAt(q.ip, which), to.Addr().AsSlice(), check)
	} else {
		swap(e.addressAt(q.ip, which), to.Addr().AsSlice(), ip[10:12])
	}
	swap(e[field:field+2], port, check)
}

// isMessageWhole says whether the checksum of an ICMP message is right.
func (p *packet) isMessageWhole() bool {
	message := p.frame[p.l4:p.end]
	if !p.six() {
		return sum(message) == 0xffff
	}
	length := binary.BigEndian.AppendUint32(nil, uint32(len(message)))
	return sum(slices.Concat(p.src.AsSlice(), p.dst.AsSlice(), length, []byte{0, 0, 0, icmp6}, message)) == 0xffff
}

// errorIn is an ICMP error from outside (RFC 5508 REQ-3, REQ-4).
func (m *Model) errorIn(p *packet) Outcome {
	q, ok := quoteOf(p)
	if !ok || q.src != p.dst {
		return stays(p, m.unasked(p, "PASS_NO_SESSION"))
	}
	remote, outside := netip.AddrPortFrom(q.dst, q.dport), netip.AddrPortFrom(q.src, q.sport)
	o, found := m.ownerOf(remote, outside, q.proto)
	if !found || !m.isLive(o.Life, q.proto) {
		return stays(p, m.unasked(p, "PASS_NO_SESSION"))
	}
	if !p.isMessageWhole() || !p.six() && sum(p.frame[q.ip:q.l4]) != 0xffff {
		return stays(p, "DROP_CHECKSUM")
	}
	e := p.edit()
	e.translateQuote(p, q, source, o.inside)
	e.errorAddress(p, destination, o.inside.Addr())
	if o.id == Host {
		return Outcome{Reason: "PASS_HOST", Frame: e}
	}
	if p.ttl > 1 {
		e.hop()
	}
	e.macs(m.Endpoints[o.id].MAC, m.GatewayMAC)
	return Outcome{"FORWARD_ICMP_IN", e, o.id}
}

// translateErrorOut changes the quotation of an error about a packet that was translated inwards, to the one that complains if that
// is valid. No session: it is about no such packet.
func (m *Model) translateErrorOut(p *packet, complainer netip.Addr) (edit, *Session) {
	if !p.isICMPError() {
		return nil, nil
	}
	q, ok := quoteOf(p)
	if !ok || complainer.IsValid() && q.dst != complainer {
		return nil, nil
	}
	key := SessionKey{netip.AddrPortFrom(q.dst, q.dport), netip.AddrPortFrom(q.src, q.sport), q.proto}
	if q.proto == p.icmp() {
		key.Inside, key.Remote = netip.AddrPortFrom(q.dst, q.sport), netip.AddrPortFrom(q.src, 0)
	}
	s := m.session(key)
	if s == nil || !m.isLive(s.Life, q.proto) {
		return nil, nil
	}
	e := p.edit()
	e.translateQuote(p, q, destination, s.Outside)
	return e, s
}
