// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
)

// quote is the packet that an ICMP error is about.
type quote struct {
	ip, l4   int // offsets in the frame
	src, dst netip.Addr
	proto    uint8
	// Ports; of an ICMP query the identifier, and 0.
	sport, dport uint16
}

// quoteOf reads as much of a quotation as every error has to have: the IP header and 8 octets (RFC 792).
func quoteOf(p *packet) (quote, bool) {
	q := quote{ip: p.l4 + 8}
	message := p.frame[:p.end]
	if len(message) < q.ip+20 {
		return q, false
	}
	ip := message[q.ip:]
	header := int(ip[0]&15) * 4
	if ip[0]>>4 != 4 || header < 20 || be16(ip[6:])&0x1fff != 0 || len(ip) < header+8 {
		return q, false
	}
	q.src, q.dst, q.proto, q.l4 = addrAt(ip[12:]), addrAt(ip[16:]), ip[9], q.ip+header
	l4 := ip[header:]
	switch {
	case q.proto == tcp || q.proto == udp:
		q.sport, q.dport = be16(l4), be16(l4[2:])
		return q, true
	case q.proto == icmp && (isRequest(l4[0]) || isReply(l4[0])):
		q.sport = be16(l4[4:])
		return q, true
	}
	return q, false
}

// translateQuote changes one end of what is quoted. The quoted header sums up to the same as before, so that the message's checksum
// changes by the port alone; the quoted transport checksum is left, since it may be cut off.
func (e edit) translateQuote(p *packet, q quote, which end, to netip.AddrPort) {
	addr, port := to.Addr().As4(), binary.BigEndian.AppendUint16(nil, to.Port())
	ip := e[q.ip:]
	at := 12 + 4*int(which)
	swap(ip[at:at+4], addr[:], ip[10:12])
	field := q.l4 + 2*int(which)
	if q.proto == icmp {
		field = q.l4 + 4
	}
	swap(e[field:field+2], port, e[p.l4+2:p.l4+4])
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
	if sum(p.frame[p.l4:p.end]) != 0xffff || sum(p.frame[q.ip:q.l4]) != 0xffff {
		return stays(p, "DROP_CHECKSUM")
	}
	e := p.edit()
	e.translateQuote(p, q, source, o.inside)
	e.address(destination, o.inside.Addr())
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
	if q.proto == icmp {
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
