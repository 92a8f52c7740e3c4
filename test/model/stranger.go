// SPDX-License-Identifier: Apache-2.0

package model

import "net/netip"

// hasStrangers says whether there may be stations on the network that are not configured: behind an endpoint without source guard.
func (m *Model) hasStrangers(network netip.Prefix) bool {
	for _, e := range m.Endpoints {
		if e.Unguarded && e.Subnet == network {
			return true
		}
	}
	return false
}

// stranger is the path of what an endpoint without source guard sends and the guard would refuse: by the bridge, if at all.
func (m *Model) stranger(p *packet, id int, refused string) Outcome {
	e := m.Endpoints[id]
	if reason := m.admitStranger(p, e, refused); reason != "" {
		return stays(p, reason)
	}
	if p.six() {
		if out, done := m.resolve(p, e); done {
			return out
		}
	}
	return stays(p, m.strangerTo(p, id))
}

// admitStranger keeps from strangers what is configured as somebody's, and what hides addresses from those that look at them.
func (m *Model) admitStranger(p *packet, e Endpoint, refused string) string {
	tagged := refused == "DROP_VLAN"
	_, _, taken := m.neighbour(e.Subnet, p.src)
	if other := m.networkOf(p.src); other.IsValid() && other != e.Subnet {
		taken = true
	}
	switch {
	case refused == "DROP_RESERVED":
		return refused
	case m.isTakenMAC(MAC(p.frame[6:]), e):
		return "DROP_SOURCE_MAC"
	case tagged && (be16(p.frame[14:])&0xfff == 0 || MAC(p.frame) == m.GatewayMAC):
		return "DROP_VLAN"
	case p.six() && !e.Addr.IsValid():
		return "DROP_IPV6"
	case taken && !e.has(p.src):
		return wrongSource(p)
	}
	return ""
}

func wrongSource(p *packet) string {
	if p.six() {
		return "DROP_SOURCE_IPV6"
	}
	return "DROP_SOURCE_IPV4"
}

// isTakenMAC says whether the gateway or another endpoint of e's network has the MAC.
func (m *Model) isTakenMAC(mac MAC, e Endpoint) bool {
	for _, other := range m.Endpoints {
		if other.Subnet == e.Subnet && other.MAC == mac {
			return mac != e.MAC
		}
	}
	return mac == m.GatewayMAC
}

// strangerTo is by whom the frame is for.
func (m *Model) strangerTo(p *packet, id int) string {
	to, mtu := MAC(p.frame), m.MTU
	isIP := p.etherType == etherIPv4 || p.six()
	if p.etherType == etherVLAN || p.etherType == etherQinQ {
		mtu += 4
	}
	switch {
	case p.size() > mtu:
		return "DROP_OVERSIZE"
	case to[0]&1 == 1 && isIP && p.src != netip.IPv4Unspecified() && p.src != netip.IPv6Unspecified() && !m.answersTo(p.src, m.Endpoints[id]):
		return wrongSource(p)
	case to[0]&1 == 1:
		if reason := m.broadcast(id); reason != "PASS_BROADCAST" {
			return reason
		}
	case to == m.GatewayMAC && isIP:
		return m.strangerOut(p, m.Endpoints[id])
	case to == m.Endpoints[id].MAC:
		return "DROP_UNKNOWN_MAC"
	}
	return "PASS_BRIDGE"
}

// answersTo says whether the host would answer to the source by the endpoint's network, and believes it to be there.
func (m *Model) answersTo(src netip.Addr, e Endpoint) bool {
	return isLinkLocal(src) || e.Subnet.Contains(src)
}

// strangerOut is for what is to be routed. On a masqueraded network that is what has an address of it; to_uplink drops it, if nobody is
// configured to have that. Else it is what the host would answer to, by the same network.
func (m *Model) strangerOut(p *packet, e Endpoint) string {
	switch {
	case !m.answersTo(p.src, e):
		return wrongSource(p)
	case e.Subnet.Contains(p.dst) || isLinkLocal(p.dst):
		return "PASS_BRIDGE"
	}
	if reason := p.judge(); reason != "" {
		return reason
	}
	if network := m.networkOf(p.dst); network.IsValid() {
		if id, _, known := m.neighbour(network, p.dst); m.Isolated && !(known && id == Host) {
			return "DROP_ISOLATED"
		}
		return m.onLink(network, p.dst, "PASS_BRIDGE")
	}
	if e.Masqueraded && !m.isExempt(p.dst) && m.Route(p.dst).Way == Elsewhere {
		return "DROP_ROUTE"
	}
	return "PASS_BRIDGE"
}
