// SPDX-License-Identifier: Apache-2.0

package model

import "net/netip"

// fromUplink is the path of whatever arrives from outside.
func (m *Model) fromUplink(p *packet, wrong string) Outcome {
	if wrong != "" || p.etherType != etherIPv4 && p.etherType != etherIPv6 || MAC(p.frame) != m.UplinkMAC {
		return stays(p, "PASS_NO_SESSION")
	}
	if isLinkLocal(p.src) || isLinkLocal(p.dst) {
		return stays(p, "PASS_NO_SESSION")
	}
	if reason := p.judge(); reason != "" {
		return stays(p, reason)
	}
	if p.src == p.dst {
		return stays(p, "DROP_MARTIAN")
	}
	if p.isFragment() && (p.dst != m.Outside || m.inside(p.src)) {
		return stays(p, m.unasked(p, "PASS_FRAGMENT"))
	}
	if p.offset > 0 {
		return m.laterIn(p)
	}
	parsed := p.parseTransport() == ""
	if parsed && (!p.isICMP() || p.isReply()) {
		if out, mine := m.reply(p); mine {
			return out
		}
	}
	switch {
	case p.isFragment():
		return m.hostFragment(p)
	case parsed && p.isICMPError():
		return m.errorIn(p)
	case parsed && m.isSYNToPorts(p):
		return stays(p, "DROP_UNSOLICITED")
	}
	return stays(p, m.unasked(p, "PASS_NO_SESSION"))
}

// unasked is the reason for what belongs to no session: the host's own, unless it has to do with inside addresses.
func (m *Model) unasked(p *packet, reason string) string {
	switch {
	case m.inside(p.src):
		return m.forged()
	case !m.inside(p.dst):
		return reason
	case m.isExempt(p.src):
		return "PASS_ROUTED"
	}
	return "DROP_UNSOLICITED"
}

// forged is the reason for an inside address where none can be.
func (m *Model) forged() string {
	if m.Subnet.Addr().Is6() {
		return "DROP_SOURCE_IPV6"
	}
	return "DROP_SOURCE_IPV4"
}

// isSYNToPorts says whether somebody opens a connection to a port of the translation: that is not refused, since the inside may be
// opening it, too (RFC 5382 REQ-4).
func (m *Model) isSYNToPorts(p *packet) bool {
	return p.proto == tcp && p.segment.opens() && !p.segment.has(rst) && p.dst == m.Outside &&
		p.dport >= m.Range[0] && p.dport <= m.Range[1] && !m.hasSocket(tcp, p.dport)
}

// owner is whose an outside port is, as a remote sees it.
type owner struct {
	Life
	inside netip.AddrPort
	id     int
}

// ownerOf says who is behind an outside port for a remote.
func (m *Model) ownerOf(remote, outside netip.AddrPort, proto uint8) (owner, bool) {
	if m.Mapping == OpenFilter {
		p := m.Ports[PortKey{outside, proto}]
		if p == nil {
			return owner{}, false
		}
		return owner{p.Life, p.Inside, p.Owner}, true
	}
	p := m.Permits[m.permitKey(SessionKey{Remote: remote, Proto: proto}, outside)]
	if p == nil {
		return owner{}, false
	}
	return owner{p.Life, p.Inside, p.Owner}, true
}

// flowOf is what the outside calls the flow of a packet from there. The identifier of an ICMP query is the outside's port.
func flowOf(p *packet) (remote, outside netip.AddrPort) {
	if p.isICMP() {
		return netip.AddrPortFrom(p.src, 0), netip.AddrPortFrom(p.dst, p.sport)
	}
	return netip.AddrPortFrom(p.src, p.sport), netip.AddrPortFrom(p.dst, p.dport)
}

// isWanted says whether the packet may pass to the owner of its port, and follows its connection.
func (m *Model) isWanted(p *packet, o owner, remote, outside netip.AddrPort) bool {
	if p.proto != tcp {
		return m.isLive(o.Life, p.proto)
	}
	key := SessionKey{o.inside, remote, tcp}
	s := m.session(key)
	if s != nil && s.Outside == outside && m.isLive(s.Life, tcp) {
		m.hear(p, key, s)
		return true
	}
	return m.Mapping != Dependent && p.segment.opens() && m.isLive(o.Life, tcp)
}

// reply is a packet from outside to an outside port. False: it is nobody's.
func (m *Model) reply(p *packet) (Outcome, bool) {
	remote, outside := flowOf(p)
	o, found := m.ownerOf(remote, outside, p.proto)
	if !found || !m.isWanted(p, o, remote, outside) {
		return Outcome{}, false
	}
	if p.isFragment() {
		m.begin(p, keyOfDatagram(p, true), Datagram{Fate: Translated, Addr: o.inside.Addr(), Owner: o.id})
	}
	e := p.edit()
	e.translate(p, destination, o.inside)
	switch {
	case o.id == Host:
		return Outcome{Reason: "PASS_HOST", Frame: e}, true
	case p.ttl <= 1:
		return Outcome{Reason: "PASS_TTL", Frame: e}, true
	case p.size() > m.MTU:
		return Outcome{Reason: "PASS_MTU", Frame: e}, true
	}
	e.hop()
	e.macs(m.Endpoints[o.id].MAC, m.GatewayMAC)
	return Outcome{"FORWARD_INSIDE", e, o.id}, true
}
