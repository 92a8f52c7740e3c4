// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"strings"
)

// Held is the reason of a fragment that waits for its turn; nobody counts it.
const Held = "held"

// fragmentTimeout is for how many seconds a datagram is remembered.
const fragmentTimeout = 30

// DatagramKey is what fragments have in common. Those that come from outside are apart from those from inside.
type DatagramKey struct {
	Src, Dst netip.Addr
	Proto    uint8
	ID       uint32
	Outside  bool // it came from there
}

// Fate is what becomes of a datagram's fragments, in the order of the datapath's enum.
type Fate uint32

// The fates.
const (
	Waiting Fate = iota // the first one is not there yet
	Translated
	HostOwn
	Refused
)

// Datagram is one that comes in fragments.
type Datagram struct {
	Fate
	Seen    uint32
	Addr    netip.Addr // outwards the new source, inwards the new destination; invalid unless it is translated
	NextHop netip.Addr
	Owner   int    // inwards
	ID      uint32 // outwards the new identification
	Next    int    // octets that have passed
	Held    bool   // does something wait?
}

func keyOfDatagram(p *packet, outside bool) DatagramKey {
	key := DatagramKey{p.src, p.dst, p.proto, p.id, outside}
	if p.six() { // which protocol a later fragment says it is of does not count (RFC 8200 section 4.5)
		key.Proto = 0
	}
	return key
}

// datagram is the one with the key, unless it has been forgotten.
func (m *Model) datagram(key DatagramKey) *Datagram {
	note(&m.Touched.Datagrams, key)
	d := m.Datagrams[key]
	if d == nil || m.now.Seconds-d.Seen > fragmentTimeout {
		return nil
	}
	return d
}

// begin notes the fate of a datagram whose first fragment is p.
func (m *Model) begin(p *packet, key DatagramKey, d Datagram) {
	was := m.datagram(key)
	d.Held = was != nil && was.Fate == Waiting
	d.Seen, d.Next = m.now.Seconds, p.end-p.part
	m.Datagrams[key] = &d
}

// holdBack keeps a fragment until it is its turn.
func (m *Model) holdBack(key DatagramKey) Outcome {
	m.HeldBack++
	if d := m.datagram(key); d != nil {
		d.Held = true
	} else {
		m.Datagrams[key] = &Datagram{Fate: Waiting, Seen: m.now.Seconds}
	}
	return Outcome{Reason: Held}
}

// turn says whether it is the turn of a later fragment of a translated datagram. If not, the outcome says what becomes of it.
func (m *Model) turn(p *packet, key DatagramKey, d *Datagram) (Outcome, bool) {
	switch {
	case d.Next < p.offset:
		return m.holdBack(key), false
	case d.Next > p.offset: // some of it has passed before: neither this one nor what follows is to be trusted
		m.Events["refused a datagram that overlaps"]++
		d.Fate = Refused
		return Outcome{Reason: "DROP_FRAGMENT"}, false
	}
	d.Next = p.offset + p.end - p.part
	if !p.more {
		delete(m.Datagrams, key)
	}
	return Outcome{}, true
}

// firstOut notes what becomes of the datagram from inside whose first fragment is p: s translates it, or reason says why not.
func (m *Model) firstOut(p *packet, s *Session, reason string) (string, uint32) {
	key := keyOfDatagram(p, false)
	if reason == "" && p.dst == m.Outside {
		reason = "DROP_FRAGMENT" // nobody puts it together on its way back in
	}
	switch {
	case reason == "":
		id := m.newID(key)
		m.begin(p, key, Datagram{Fate: Translated, Addr: m.Outside, NextHop: s.NextHop, ID: id})
		return "", id
	case strings.HasPrefix(reason, "DROP"):
		m.begin(p, key, Datagram{Fate: Refused})
	default:
		m.begin(p, key, Datagram{Fate: HostOwn})
	}
	return reason, 0
}

// newID is an identification that no other datagram has (RFC 6864 section 5.3.1).
func (m *Model) newID(key DatagramKey) uint32 {
	id := m.oracle.Identification(key)
	for other, d := range m.Datagrams {
		if d.ID == id && d.Fate == Translated && !other.Outside && other != key {
			m.fault("datagrams %v and %v both have identification %d", key, other, id)
		}
	}
	return id
}

// laterOut is a fragment from inside that is not its datagram's first.
func (m *Model) laterOut(p *packet) Outcome {
	if p.proto == tcp && p.offset < 20 { // RFC 3128
		return stays(p, "DROP_FRAGMENT")
	}
	key := keyOfDatagram(p, false)
	d := m.datagram(key)
	switch {
	case d == nil || d.Fate == Waiting:
		return m.holdBack(key)
	case d.Fate == Refused:
		return stays(p, "DROP_FRAGMENT")
	case d.Fate == HostOwn:
		return stays(p, m.byStack(p, "PASS_FRAGMENT"))
	}
	if out, yes := m.turn(p, key, d); !yes {
		return out
	}
	if p.options || p.ttl <= 1 || p.size() > m.MTU || !d.NextHop.IsValid() {
		return stays(p, m.byStack(p, "PASS_FRAGMENT"))
	}
	e := p.edit()
	e.identification(p, d.ID)
	e.address(source, d.Addr)
	e.hop()
	return Outcome{Reason: "FORWARD_OUTSIDE", Frame: e}
}

// laterIn is the same from outside.
func (m *Model) laterIn(p *packet) Outcome {
	key := keyOfDatagram(p, true)
	d := m.datagram(key)
	switch {
	case d == nil || d.Fate == Waiting:
		return m.holdBack(key)
	case d.Fate == HostOwn:
		return stays(p, m.unasked(p, "PASS_FRAGMENT"))
	case d.Fate == Refused:
		return stays(p, m.unasked(p, "DROP_FRAGMENT"))
	}
	if out, yes := m.turn(p, key, d); !yes {
		return out
	}
	e := p.edit()
	e.address(destination, d.Addr)
	if d.Owner == Host || p.ttl <= 1 || p.size() > m.MTU {
		return Outcome{Reason: "PASS_FRAGMENT", Frame: e}
	}
	e.hop()
	e.macs(m.Endpoints[d.Owner].MAC, m.GatewayMAC)
	return Outcome{"FORWARD_INSIDE", e, d.Owner}
}

// hostFragment is the first fragment from outside of a datagram that is nobody's inside.
func (m *Model) hostFragment(p *packet) Outcome {
	reason, fate := m.unasked(p, "PASS_FRAGMENT"), Refused
	if reason == "PASS_FRAGMENT" {
		fate = HostOwn
	}
	m.begin(p, keyOfDatagram(p, true), Datagram{Fate: fate})
	return stays(p, reason)
}

// laterSlow is a fragment that the stack sends, which puts them in order itself.
func (m *Model) laterSlow(p *packet) Outcome {
	d := m.datagram(keyOfDatagram(p, false))
	if d == nil || d.Fate != Translated {
		return stays(p, "DROP_FRAGMENT")
	}
	e := p.edit()
	e.identification(p, d.ID)
	e.address(source, d.Addr)
	return Outcome{Reason: "PASS_TO_UPLINK", Frame: e}
}

// slowID is the identification of a first fragment that the stack sends. Pieces of what was too large for the uplink belong to that
// one's datagram.
func (m *Model) slowID(p *packet, s *Session) uint32 {
	d := m.datagram(keyOfDatagram(p, false))
	if d != nil && d.Fate == Translated && d.Next > p.end-p.part {
		return d.ID
	}
	_, id := m.firstOut(p, s, "")
	return id
}
