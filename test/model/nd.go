// SPDX-License-Identifier: Apache-2.0

package model

import "net/netip"

// Neighbour discovery (RFC 4861).
const (
	routerSolicitation     = 133
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
	redirect               = 137

	ndAt     = ipAt + 40
	ndLength = 24
	// ndMost is the longest message that is read, ndOptions how many options.
	ndMost    = 1024
	ndOptions = 15
)

// resolve is for neighbour discovery, and for who has no source. False: neither has to do with the packet.
func (m *Model) resolve(p *packet, e Endpoint) (Outcome, bool) {
	if isOffLink(p.dst) {
		return stays(p, "DROP_MARTIAN"), true
	}
	kind := uint8(0)
	if p.offset == 0 && p.proto == icmp6 {
		if p.l4 >= p.end {
			return stays(p, "DROP_TRANSPORT"), true
		}
		kind = p.frame[p.l4]
	}
	switch {
	case p.src.IsUnspecified() && !mayLackSource(kind):
		return stays(p, "DROP_SOURCE_IPV6"), true
	case kind < routerSolicitation || kind > redirect:
		return Outcome{}, false
	case kind != neighbourSolicitation && kind != neighbourAdvertisement:
		return stays(p, "DROP_ND_ROUTER"), !e.Unguarded
	}
	if reason := p.judgeND(); reason != "" {
		return stays(p, reason), true
	}
	target := addr6At(p.frame[ndAt+8:])
	_, _, known := m.neighbour(e.Subnet, target)
	if kind == neighbourSolicitation {
		return m.solicitation(p, e, target), known || !m.hasStrangers(e.Subnet)
	}
	switch {
	case !e.has(target) && (known || !e.Unguarded):
		return stays(p, "DROP_ND_TARGET"), true
	case MAC(p.frame) != m.GatewayMAC:
		return stays(p, "DROP_ND_ADVERTISEMENT"), !e.Unguarded
	}
	return stays(p, "PASS_HOST"), true
}

// mayLackSource: who has no address yet asks with neither, and reports groups (RFC 3590).
func mayLackSource(kind uint8) bool {
	switch kind {
	case routerSolicitation, neighbourSolicitation, 131, 132, 143:
		return true
	}
	return false
}

// judgeND is why a message is invalid (RFC 4861 sections 7.1.1 and 7.1.2, RFC 6980), or tells what is not so.
func (p *packet) judgeND() string {
	if p.fragment != 0 || p.l4 != ndAt || p.ttl != 255 || p.end > ndAt+ndMost || p.end < ndAt+ndLength || p.frame[ndAt+1] != 0 {
		return "DROP_ND_MALFORMED"
	}
	target := addr6At(p.frame[ndAt+8:])
	if target.IsUnspecified() || target.IsMulticast() || !p.isMessageWhole() {
		return "DROP_ND_MALFORMED"
	}
	named, foreign := false, false
	options := p.frame[ndAt+ndLength : p.end]
	for n := 0; len(options) > 0; n++ {
		if n == ndOptions || len(options) < 8 || options[1] == 0 || len(options) < int(options[1])*8 {
			return "DROP_ND_MALFORMED"
		}
		if options[0] == 1 || options[0] == 2 {
			named = true
			foreign = foreign || options[1] != 1 || MAC(options[2:]) != MAC(p.frame[6:])
		}
		options = options[int(options[1])*8:]
	}
	switch {
	case p.src.IsUnspecified() && (named || !isSolicitedNode(p.dst)):
		return "DROP_ND_MALFORMED"
	case foreign:
		return "DROP_ND_LINK_LAYER"
	}
	return ""
}

// isSolicitedNode says whether the address is of ff02::1:ff00:0/104.
func isSolicitedNode(a netip.Addr) bool {
	return netip.MustParsePrefix("ff02::1:ff00:0/104").Contains(a)
}

// solicitation is answered for whoever has the target. The asker without an address is told by telling all.
func (m *Model) solicitation(p *packet, e Endpoint, target netip.Addr) Outcome {
	id, mac, known := m.neighbour(e.Subnet, target)
	switch {
	case e.has(target):
		return stays(p, "DROP_ND_OWN")
	case !known:
		return stays(p, "DROP_ND_TARGET")
	}
	flags := byte(0x20 | 0x40)
	to, toMAC := p.src, p.frame[6:12]
	if p.src.IsUnspecified() {
		flags, to, toMAC = 0x20, netip.IPv6LinkLocalAllNodes(), []byte{0x33, 0x33, 0, 0, 0, 1}
	}
	if id == Host {
		flags |= 0x80
	}
	message := append([]byte{neighbourAdvertisement, 0, 0, 0, flags, 0, 0, 0}, target.AsSlice()...)
	message = append(append(message, 2, 1), mac[:]...)
	return Outcome{Reason: "ANSWER_ND", Frame: message6(toMAC, mac, 255, target, to, message)}
}
