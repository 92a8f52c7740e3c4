// SPDX-License-Identifier: Apache-2.0

package model

import "net/netip"

// fromEndpoint is the path of whatever an endpoint sends.
func (m *Model) fromEndpoint(p *packet, wrong string, id int) Outcome {
	e, known := m.Endpoints[id]
	if !known {
		return stays(p, "DROP_NOT_ENDPOINT")
	}
	if wrong != "" {
		return stays(p, wrong)
	}
	if reason := admitFrame(p, e); reason != "" {
		if e.Unguarded {
			return m.stranger(p, id, reason)
		}
		return stays(p, reason)
	}
	if p.six() {
		if out, done := m.resolve(p, e); done {
			return out
		}
	}
	if MAC(p.frame) != m.GatewayMAC {
		return m.bridge(p, id)
	}
	out := m.outwards(p, id)
	if e.Masqueraded {
		m.refuse(p, id, &out)
	}
	return out
}

// admitFrame is the source guard.
func admitFrame(p *packet, e Endpoint) string {
	switch {
	case string(p.frame[:5]) == "\x01\x80\xc2\x00\x00" && p.frame[5] <= 0x0f:
		return "DROP_RESERVED"
	case p.etherType == etherVLAN || p.etherType == etherQinQ:
		return "DROP_VLAN"
	case p.etherType < etherFirst:
		return "DROP_LLC"
	case MAC(p.frame[6:]) != e.MAC:
		return "DROP_SOURCE_MAC"
	case p.etherType == etherIPv4 && p.src != e.Addr:
		return "DROP_SOURCE_IPV4"
	case p.six() && !e.Addr.IsValid():
		return "DROP_IPV6"
	case p.six() && !e.has(p.src) && !p.src.IsUnspecified():
		return "DROP_SOURCE_IPV6"
	case p.six() && p.offset == 0 && p.proto == udp && p.l4+8 > p.end:
		return "DROP_TRANSPORT"
	case p.isDHCPServer():
		return "DROP_DHCP_SERVER"
	}
	return ""
}

// bridge is for frames to other MACs of the network.
func (m *Model) bridge(p *packet, id int) Outcome {
	to := MAC(p.frame)
	if p.size() > m.MTU {
		return stays(p, "DROP_OVERSIZE")
	}
	if to[0]&1 == 1 {
		return stays(p, m.broadcast(id))
	}
	for other, e := range m.Endpoints {
		if e.MAC == to && other != id && e.Subnet == m.Endpoints[id].Subnet {
			return Outcome{"FORWARD_ENDPOINT", p.frame, other}
		}
	}
	if to != m.Endpoints[id].MAC && m.hasStrangers(m.Endpoints[id].Subnet) {
		return stays(p, "PASS_BRIDGE")
	}
	return stays(p, "DROP_UNKNOWN_MAC")
}

// broadcast is what becomes of a frame for everybody.
func (m *Model) broadcast(id int) string {
	rate := m.Limits.Broadcasts
	if rate > 0 && !m.takeToken(&m.usage(id).Broadcasts, m.oracle.Buckets(id).Broadcasts, rate, rate) {
		return "DROP_LIMIT_FLOOD"
	}
	return "PASS_BROADCAST"
}

// outwards is for what is sent to the gateway.
func (m *Model) outwards(p *packet, id int) Outcome {
	switch {
	case p.etherType != etherIPv4 && p.etherType != etherIPv6:
		return stays(p, "PASS_ETHERTYPE")
	case m.Endpoints[id].Subnet.Contains(p.dst) || isLinkLocal(p.dst):
		return stays(p, m.onLink(m.Endpoints[id].Subnet, p.dst, "PASS_HOST"))
	}
	if reason := p.judge(); reason != "" {
		return stays(p, reason)
	}
	if !m.Endpoints[id].Masqueraded || m.isExempt(p.dst) {
		return m.between(p, id, "PASS_ROUTED")
	}
	if p.offset > 0 {
		return m.laterOut(p)
	}
	reason := ""
	switch {
	case p.options:
		reason = "PASS_OPTIONS"
	case p.ttl <= 1:
		reason = "PASS_TTL"
	default:
		reason = p.parseTransport()
	}
	if reason == "" && p.isICMP() && !p.isRequest() {
		reason = "PASS_PROTOCOL"
		if out, mine := m.hairpinError(p); mine {
			return out
		}
	}
	return m.masquerade(p, id, reason)
}

// between is for what may go to another network of the host; the reason is that of what does not.
func (m *Model) between(p *packet, id int, reason string) Outcome {
	network := m.networkOf(p.dst)
	if !network.IsValid() || network == m.Endpoints[id].Subnet {
		return stays(p, reason)
	}
	to, mac, known := m.neighbour(network, p.dst)
	switch {
	case known && to == Host:
		return stays(p, "PASS_HOST")
	case m.Isolated:
		return stays(p, "DROP_ISOLATED")
	case !known:
		return stays(p, m.onLink(network, p.dst, reason))
	case p.isFragment():
		return stays(p, "PASS_FRAGMENT")
	case p.options:
		return stays(p, "PASS_OPTIONS")
	case p.ttl <= 1:
		return stays(p, "PASS_TTL")
	case p.size() > m.MTU:
		return stays(p, "PASS_MTU")
	}
	e := p.edit()
	e.hop()
	e.macs(mac, m.GatewayMAC)
	return Outcome{"FORWARD_NETWORK", e, to}
}

// networkOf is the subnet of the address, if it is one of the host's networks.
func (m *Model) networkOf(a netip.Addr) netip.Prefix {
	if m.inside(a) {
		return m.Subnet
	}
	for _, e := range m.Endpoints {
		if e.Subnet.Contains(a) {
			return e.Subnet
		}
	}
	return netip.Prefix{}
}

// onLink is the reason for what the stack would send to an address of the network: for one that surely nobody has there, it would have to ask.
func (m *Model) onLink(network netip.Prefix, a netip.Addr, reason string) string {
	if _, _, known := m.neighbour(network, a); known || isShared(network, a) || m.hasStrangers(network) {
		return reason
	}
	return "DROP_UNASSIGNED"
}

// neighbour says whose an address of the network is; the gateway is the host.
func (m *Model) neighbour(network netip.Prefix, a netip.Addr) (id int, mac MAC, known bool) {
	for id, e := range m.Endpoints {
		if e.Subnet == network && e.has(a) {
			return id, e.MAC, true
		}
	}
	gateway := Endpoint{Addr: m.Gateway, MAC: m.GatewayMAC}
	return Host, m.GatewayMAC, network == m.Subnet && gateway.has(a)
}

// has says whether the address is one of the endpoint's.
func (e Endpoint) has(a netip.Addr) bool { return a == e.Addr || a.Is6() && a == linkLocal(e.MAC) }

// isShared says whether the address is everybody's on a network, or of IPv6 its routers': what follows the prefix is all ones, or zeros.
func isShared(network netip.Prefix, a netip.Addr) bool {
	b := a.AsSlice()
	for i := network.Bits(); i < 8*len(b); i++ {
		if one := b[i/8]&(0x80>>(i%8)) != 0; one != a.Is4() {
			return false
		}
	}
	return true
}

func (m *Model) isExempt(a netip.Addr) bool { return m.Exempt.IsValid() && m.Exempt.Contains(a) }

// masquerade sends a packet out by its session, if reason does not say why it cannot take the fast path.
func (m *Model) masquerade(p *packet, id int, reason string) Outcome {
	var s *Session
	var datagram uint32
	switch reason {
	case "":
		s, reason = m.sessionOf(p, id)
	case "DROP_TRANSPORT", "DROP_EXTENSIONS":
	default:
		reason = m.byStack(p, reason)
	}
	var across Outcome
	if reason == "PASS_ROUTE" {
		across = m.between(p, id, reason)
		reason = across.Reason
	}
	if p.isFragment() {
		reason, datagram = m.firstOut(p, s, reason)
	}
	switch {
	case reason == "FORWARD_NETWORK":
		return across
	case reason != "":
		return stays(p, reason)
	}
	if p.dst == m.Outside {
		return m.hairpin(p, s)
	}
	if p.size() > m.MTU {
		return stays(p, "PASS_MTU")
	}
	e := p.edit()
	e.translate(p, source, s.Outside)
	if p.isFragment() {
		e.identification(p, datagram)
	}
	e.hop()
	return Outcome{Reason: "FORWARD_OUTSIDE", Frame: e}
}

// byStack is the reason for what the stack is to handle, unless it would send it out where nobody translates.
func (m *Model) byStack(p *packet, reason string) string {
	if m.networkOf(p.dst).IsValid() {
		return "PASS_ROUTE"
	}
	if m.Route(p.dst).Way == Elsewhere {
		return "DROP_ROUTE"
	}
	return reason
}

// sessionOf is the session of a packet from inside, found or made; or the reason why there is none.
func (m *Model) sessionOf(p *packet, id int) (*Session, string) {
	key, route := keyOf(p), m.Route(p.dst)
	s := m.find(p, key, id)
	if s == nil && m.networkOf(p.dst).IsValid() {
		return nil, "PASS_ROUTE"
	}
	if s == nil {
		return m.openBy(p, key, id, route)
	}
	if p.dst != m.Outside {
		s.NextHop = route.NextHop // the slow path has not known it
	}
	return s, ""
}

// openBy makes a session where the route leads to an uplink, or to an outside port of ours that somebody has.
func (m *Model) openBy(p *packet, key SessionKey, id int, route Route) (*Session, string) {
	switch route.Way {
	case Elsewhere:
		return nil, "DROP_ROUTE"
	case Nowhere:
		if p.isICMP() || m.port(PortKey{netip.AddrPortFrom(p.dst, p.dport), p.proto}) == nil {
			return nil, "PASS_HOST"
		}
		return m.open(p, key, id, netip.Addr{})
	}
	return m.open(p, key, id, route.NextHop)
}

// hairpin sends a packet to an outside port of ours back in, as if it had come by the uplink; it is one hop in all.
func (m *Model) hairpin(p *packet, s *Session) Outcome {
	e := p.edit()
	e.translate(p, source, s.Outside)
	back, _ := parse(e)
	back.parseTransport()
	out, mine := m.reply(back)
	switch {
	case !mine:
		return Outcome{Reason: "DROP_UNSOLICITED"}
	case out.Reason == "FORWARD_INSIDE":
		out.Reason = "FORWARD_HAIRPIN"
	}
	return out
}

// hairpinError is an error of one endpoint about another's packet that came by an outside port of ours (RFC 5508 REQ-7). False: it
// is about no such packet.
func (m *Model) hairpinError(p *packet) (Outcome, bool) {
	e, s := m.translateErrorOut(p, p.src)
	if s == nil || s.Outside.Addr() != p.dst {
		return Outcome{}, false
	}
	e.errorAddress(p, source, m.Outside)
	back, _ := parse(e)
	back.parseTransport()
	out := m.errorIn(back)
	if out.Reason != "FORWARD_ICMP_IN" {
		return Outcome{Reason: "DROP_ICMP"}, true
	}
	out.Reason = "FORWARD_HAIRPIN"
	return out, true
}
