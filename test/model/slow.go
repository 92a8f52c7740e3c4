// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// toUplink is the path of what the host's stack sends to the uplink.
func (m *Model) toUplink(p *packet, wrong string, came Came) Outcome {
	switch {
	case p.etherType != etherIPv4 && p.etherType != etherIPv6:
		return stays(p, "PASS_OWN")
	case !p.src.IsValid() || !m.inside(p.src):
		return m.own(p, wrong == "")
	case wrong != "":
		return stays(p, wrong)
	case came == FromElsewhere:
		return stays(p, m.forged())
	case m.isExempt(p.dst):
		return stays(p, "PASS_ROUTED")
	}
	if p.offset > 0 {
		return m.laterSlow(p)
	}
	switch reason := p.parseTransport(); {
	case reason == "PASS_PROTOCOL":
		return stays(p, "DROP_PROTOCOL")
	case reason != "":
		return stays(p, reason)
	case p.isICMPError():
		return m.slowError(p)
	case p.isICMP() && !p.isRequest():
		return stays(p, "DROP_ICMP")
	}
	return m.slow(p)
}

// own is for packets of the host itself; its errors quote what the outside knows by another name.
func (m *Model) own(p *packet, whole bool) Outcome {
	if !whole || !p.isICMP() || p.isFragment() || p.parseTransport() != "" {
		return stays(p, "PASS_OWN")
	}
	e, s := m.translateErrorOut(p, netip.Addr{})
	if s == nil {
		return stays(p, "PASS_OWN")
	}
	return Outcome{Reason: "PASS_ICMP", Frame: e}
}

// slowError is an endpoint's error about a reply (RFC 5508 REQ-5).
func (m *Model) slowError(p *packet) Outcome {
	e, s := m.translateErrorOut(p, p.src)
	if s == nil {
		return stays(p, "DROP_ICMP")
	}
	e.errorAddress(p, source, s.Outside.Addr())
	return Outcome{Reason: "PASS_TO_UPLINK", Frame: e}
}

// ownerOfAddr is who has an inside address.
func (m *Model) ownerOfAddr(a netip.Addr) (int, bool) {
	if a == m.Gateway {
		return Host, true
	}
	for id, e := range m.Endpoints {
		if e.Masqueraded && e.Addr == a {
			return id, true
		}
	}
	return 0, false
}

// slow translates a packet that the stack has routed, and whose hop it has counted.
func (m *Model) slow(p *packet) Outcome {
	id, known := m.ownerOfAddr(p.src)
	if !known {
		return stays(p, "DROP_NO_ENDPOINT")
	}
	key := keyOf(p)
	s := m.find(p, key, id)
	if s == nil {
		var reason string
		if s, reason = m.open(p, key, id, netip.Addr{}); reason != "" {
			return stays(p, reason)
		}
	}
	e := p.edit()
	if p.isFragment() {
		e.identification(p, m.slowID(p, s))
	}
	e.translate(p, source, s.Outside)
	return Outcome{Reason: "PASS_TO_UPLINK", Frame: e}
}

// refusals are the reasons that an endpoint is told of (RFC 5508 REQ-8).
var refusals = map[string]bool{
	"DROP_NO_PORT": true, "DROP_SESSIONS_FULL": true,
	"DROP_LIMIT_SESSIONS": true, "DROP_LIMIT_MAPPINGS": true, "DROP_LIMIT_RATE": true,
}

// answersRate is how many refusals an endpoint is told of in a second, and at once.
const answersRate = 10

// refuse turns a packet that is refused into the answer, as far as the endpoint may have one.
func (m *Model) refuse(p *packet, id int, out *Outcome) {
	if !refusals[out.Reason] {
		return
	}
	if !m.takeToken(&m.usage(id).Answers, m.oracle.Buckets(id).Answers, answersRate, answersRate) {
		return
	}
	quoted := 8
	if p.proto == tcp {
		quoted = 20
	}
	m.Events["told of a refusal"]++
	if p.six() {
		out.Frame = m.refusal6(p, 40+quoted)
	} else {
		out.Frame = m.refusal(p, 20+quoted)
	}
}

// refusal is ICMP destination unreachable, communication administratively prohibited (RFC 1812 section 5.2.7.1).
func (m *Model) refusal(p *packet, quoted int) []byte {
	from, to := m.Gateway.As4(), p.src.As4()
	ip := []byte{0x45, 0xc0, 0, byte(20 + 8 + quoted), 0, 0, 0, 0, 64, icmp, 0, 0}
	ip = append(append(ip, from[:]...), to[:]...)
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip))
	message := append([]byte{3, 13, 0, 0, 0, 0, 0, 0}, p.frame[ipAt:ipAt+quoted]...)
	binary.BigEndian.PutUint16(message[2:], ^sum(message))
	return slices.Concat(p.frame[6:12], m.GatewayMAC[:], []byte{8, 0}, ip, message)
}

// refusal6 is the same of ICMPv6 (RFC 4443 section 3.1).
func (m *Model) refusal6(p *packet, quoted int) []byte {
	message := append([]byte{1, 1, 0, 0, 0, 0, 0, 0}, p.frame[ipAt:ipAt+quoted]...)
	return message6(p.frame[6:12], m.GatewayMAC, 64, m.Gateway, p.src, message)
}

// message6 is a message of ICMPv6, whose checksum is filled in.
func message6(toMAC []byte, fromMAC MAC, hops uint8, from, to netip.Addr, message []byte) []byte {
	ip := []byte{0x60, 0, 0, 0, 0, byte(len(message)), icmp6, hops}
	addresses := slices.Concat(from.AsSlice(), to.AsSlice())
	pseudo := slices.Concat(addresses, []byte{0, 0, 0, byte(len(message)), 0, 0, 0, icmp6}, message)
	binary.BigEndian.PutUint16(message[2:], ^sum(pseudo))
	return slices.Concat(toMAC, fromMAC[:], []byte{0x86, 0xdd}, ip, addresses, message)
}
