// SPDX-License-Identifier: Apache-2.0

package model

import "net/netip"

// pressedTurns is how many tokens are looked at when something has run out.
const pressedTurns = 256

// collect looks at the oldest token: its session is removed if it is over, or the token is the youngest then. False: there is none.
func (m *Model) collect(how patience, pressed bool) bool {
	if len(m.Tokens) == 0 {
		return false
	}
	key := m.Tokens[0]
	m.Tokens = m.Tokens[1:]
	s := m.Sessions[key]
	if s == nil {
		m.fault("token of %v, which is no entry", key)
		return true
	}
	if !m.isOver(s.Life, key.Proto, how, pressed) {
		m.Tokens = append(m.Tokens, key)
		return true
	}
	m.Events["collected an entry"]++
	m.session(key)
	m.end(key, s)
	delete(m.Sessions, key)
	return true
}

// collectPressed looks at many tokens, unless that has been in vain since the clock last moved.
func (m *Model) collectPressed(how patience) {
	if m.inVain(how) {
		m.Events["did not collect again"]++
		return
	}
	m.Events["collected under pressure"]++
	m.pressed++
	entries := len(m.Sessions)
	for range pressedTurns {
		if !m.collect(how, true) {
			break
		}
	}
	if len(m.Sessions) == entries {
		m.collectedInVain[how] = m.now
	}
}

// inVain says whether the clock has not moved since the last collection in vain. If it may have, the oracle knows.
func (m *Model) inVain(how patience) bool {
	at, ok := m.collectedInVain[how]
	switch {
	case !ok || int32(m.now.From-at.To) > 0:
		return false
	case m.now.From == m.now.To && at.From == at.To:
		return true
	}
	return m.pressed == m.oracle.Collections()
}

// end gives back what a session holds; its entry stays.
func (m *Model) end(key SessionKey, s *Session) {
	if s.State == Dead {
		return
	}
	m.session(key)
	s.State = Dead
	if m.Mapping != OpenFilter {
		index := m.permitKey(key, s.Outside)
		p := m.permit(index)
		if p.Sessions--; p.Sessions == 0 {
			delete(m.Permits, index)
		}
	}
	if m.Mapping == Dependent {
		delete(m.InVain, m.space(key))
	} else {
		m.leaveMapping(key, s)
	}
	if s.Owner != Host {
		m.usage(s.Owner).Sessions--
	}
}

// leaveMapping gives back a session's share in its mapping.
func (m *Model) leaveMapping(key SessionKey, s *Session) {
	index := mappingKey(key, m.Outside)
	e := m.mapping(index)
	if e.Sessions--; e.Sessions > 0 {
		return
	}
	place := PortKey{netip.AddrPortFrom(m.Outside, e.Port), key.Proto}
	m.port(place)
	delete(m.Ports, place)
	delete(m.Mappings, index)
	delete(m.InVain, m.space(key))
	if s.Owner != Host {
		m.usage(s.Owner).Mappings--
	}
}
