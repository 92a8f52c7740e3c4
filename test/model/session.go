// SPDX-License-Identifier: Apache-2.0

package model

import "net/netip"

// keyOf is the session that a packet from inside belongs to.
func keyOf(p *packet) SessionKey {
	return SessionKey{netip.AddrPortFrom(p.src, p.sport), netip.AddrPortFrom(p.dst, p.dport), p.proto}
}

// find is the live session of a packet from the inside of owner, which it keeps alive, or nil.
func (m *Model) find(p *packet, key SessionKey, owner int) *Session {
	s := m.session(key)
	if s == nil || !m.isLive(s.Life, key.Proto) {
		return nil
	}
	state, mark := s.State, s.Mark
	if p.proto == tcp {
		state, mark = nextOut(state, mark, p.segment)
	}
	s.Mark = mark
	m.live(key, s, state, !p.segment.has(rst), func(l *Life, o *int) { *o = owner })
	return s
}

// hear notes a packet from outside, which does not keep its session alive (RFC 4787 REQ-6).
func (m *Model) hear(p *packet, key SessionKey, s *Session) {
	state, mark := nextIn(s.State, s.Mark, p.segment)
	s.Mark = mark
	m.live(key, s, state, false, func(*Life, *int) {})
}

// live changes a session's life; a new state has its whole time.
func (m *Model) live(key SessionKey, s *Session, state State, refresh bool, also func(*Life, *int)) {
	was := s.Life
	if (refresh || state != was.State) && int32(m.now.Seconds-was.Seen) > 0 {
		s.Seen = m.now.Seconds
	}
	if s.State != state {
		m.Events["state to "+state.String()]++
	}
	s.State = state
	if s.Life != was {
		m.publish(key, s, also)
	}
}

// publish copies a session's life to where packets from outside find it. Where others have shares, too, the longest life counts.
func (m *Model) publish(key SessionKey, s *Session, also func(*Life, *int)) {
	if m.Mapping == OpenFilter {
		if p := m.port(PortKey{s.Outside, key.Proto}); p != nil {
			p.Life = p.Life.with(s.Life, key.Proto, m.mapping(mappingKey(key, m.Outside)).Sessions)
			also(&p.Life, &p.Owner)
		}
		return
	}
	if p := m.permit(m.permitKey(key, s.Outside)); p != nil {
		p.Life = p.Life.with(s.Life, key.Proto, p.Sessions)
		also(&p.Life, &p.Owner)
	}
}

// with is the life that is known of so many sessions when one of them changes.
func (l Life) with(changed Life, proto uint8, sessions uint32) Life {
	if sessions > 1 && int32(l.Seen+l.timeout(proto)-(changed.Seen+changed.timeout(proto))) > 0 {
		return l
	}
	return changed
}

// open makes the session of a packet from inside; the reason why it cannot be.
func (m *Model) open(p *packet, key SessionKey, owner int, nextHop netip.Addr) (*Session, string) {
	fresh := Session{Life: Life{Established, m.now.Seconds}, NextHop: nextHop, Owner: owner}
	if p.proto == tcp {
		if p.segment.has(rst) {
			return nil, "DROP_RESET"
		}
		fresh.State, fresh.Mark = p.segment.begin()
	}
	if reason := m.admit(owner); reason != "" {
		return nil, reason
	}
	s, reason := m.enter(key)
	if reason != "" {
		return nil, reason
	}
	if s.State != Dead { // an expired session of the same flow goes on with its port
		m.Events["revived an expired session"]++
		fresh.Outside, fresh.Owner = s.Outside, s.Owner
	} else {
		s.State = Claimed
		port, reason := m.take(key, owner, fresh.Life)
		if reason != "" {
			*s = Session{Life: Life{Dead, m.now.Seconds}}
			return nil, reason
		}
		fresh.Outside = netip.AddrPortFrom(m.Outside, port)
		if owner != Host {
			m.usage(owner).Sessions++
		}
	}
	*s = fresh
	m.publish(key, s, func(l *Life, o *int) { *o = owner })
	return s, ""
}

// admit holds an endpoint to its limits (RFC 6888 REQ-4).
func (m *Model) admit(owner int) string {
	if owner == Host {
		return ""
	}
	u := m.usage(owner)
	if m.Limits.Rate != 0 {
		makes := m.oracle.Buckets(owner).Sessions
		if !m.takeToken(&u.Makes, makes, m.Limits.Rate, m.Limits.Burst) {
			return "DROP_LIMIT_RATE"
		}
	}
	if m.Limits.Sessions != 0 && u.Sessions >= m.Limits.Sessions {
		m.collectPressed(expired)
		if u.Sessions >= m.Limits.Sessions {
			return "DROP_LIMIT_SESSIONS"
		}
	}
	return ""
}

// enter is the entry for a session that is not live, with a token.
func (m *Model) enter(key SessionKey) (*Session, string) {
	if s := m.Sessions[key]; s != nil {
		return s, ""
	}
	m.collect(kept, false)
	m.collect(kept, false)
	if len(m.Sessions) >= m.Entries {
		m.collectPressed(expired)
	}
	if len(m.Sessions) >= m.Entries {
		return nil, "DROP_SESSIONS_FULL"
	}
	s := &Session{}
	m.Sessions[key] = s
	m.Tokens = append(m.Tokens, key)
	return s, ""
}

// take gets the session an outside port, and its shares in what it is found by.
func (m *Model) take(key SessionKey, owner int, life Life) (uint16, string) {
	if m.Mapping == Dependent {
		port, reason := m.findPort(key)
		if reason == "" {
			m.share(key, port, owner, life)
		}
		return port, reason
	}
	port, reason := m.takeMapping(key, owner, life)
	if reason == "" && m.Mapping == Independent {
		m.share(key, port, owner, life)
	}
	return port, reason
}

// share takes a share in the session's permit, which is made if it is missing.
func (m *Model) share(key SessionKey, port uint16, owner int, life Life) {
	index := m.permitKey(key, netip.AddrPortFrom(m.Outside, port))
	p := m.permit(index)
	if p == nil {
		p = &Permit{Life: life, Inside: key.Inside, Owner: owner}
		m.Permits[index] = p
	}
	p.Sessions++
}

// takeMapping takes a share in the inside port's mapping, which is made if it is missing.
func (m *Model) takeMapping(key SessionKey, owner int, life Life) (uint16, string) {
	index := mappingKey(key, m.Outside)
	if e := m.mapping(index); e != nil {
		if m.hasSocket(key.Proto, e.Port) {
			return 0, "DROP_NO_PORT"
		}
		m.Events["shared a mapping"]++
		e.Sessions++
		return e.Port, ""
	}
	if owner != Host && m.Limits.Mappings != 0 && m.usage(owner).Mappings >= m.Limits.Mappings {
		m.collectPressed(expired)
		if m.usage(owner).Mappings >= m.Limits.Mappings {
			return 0, "DROP_LIMIT_MAPPINGS"
		}
	}
	port, reason := m.findPort(key)
	if reason != "" {
		return 0, reason
	}
	m.Mappings[index] = &MappingEntry{Port: port, Sessions: 1}
	place := PortKey{netip.AddrPortFrom(m.Outside, port), key.Proto}
	m.port(place)
	m.Ports[place] = &PortOwner{Life: life, Inside: key.Inside, Owner: owner}
	if owner != Host {
		m.usage(owner).Mappings++
	}
	return port, ""
}
