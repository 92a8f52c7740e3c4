// SPDX-License-Identifier: Apache-2.0

package model

import "net/netip"

// exhaustedFor is for how many milliseconds a search in vain counts.
const exhaustedFor = 1000

// space is what the ports for a session are taken of.
func (m *Model) space(key SessionKey) Space {
	if m.Mapping == Dependent {
		return Space{m.Outside, key.Remote, key.Proto}
	}
	return Space{m.Outside, netip.AddrPort{}, key.Proto}
}

// isFree says whether the session, or its mapping, could have the port: nobody else has it, or only one who is over; pressed: or closed.
func (m *Model) isFree(key SessionKey, port uint16, pressed bool) bool {
	if port < m.Range[0] || port > m.Range[1] || m.hasSocket(key.Proto, port) {
		return false
	}
	if m.Mapping != Dependent {
		return m.Ports[PortKey{netip.AddrPortFrom(m.Outside, port), key.Proto}] == nil
	}
	_, s := m.holder(key, port)
	return s == nil || m.isOver(s.Life, key.Proto, kept, pressed)
}

// holder is the session that has the port towards the remote of key.
func (m *Model) holder(key SessionKey, port uint16) (SessionKey, *Session) {
	p := m.Permits[m.permitKey(key, netip.AddrPortFrom(m.Outside, port))]
	if p == nil {
		return SessionKey{}, nil
	}
	owner := SessionKey{p.Inside, key.Remote, key.Proto}
	return owner, m.Sessions[owner]
}

func (m *Model) anyFree(key SessionKey, pressed bool) bool {
	for port := int(m.Range[0]); port <= int(m.Range[1]); port++ {
		if m.isFree(key, uint16(port), pressed) {
			return true
		}
	}
	return false
}

// findPort is the port that the session, or its mapping, gets: the inside's own if it is free, else any that is.
func (m *Model) findPort(key SessionKey) (uint16, string) {
	space := m.space(key)
	if m.isExhausted(space) {
		m.Events["refused without a search"]++
		return 0, "DROP_NO_PORT"
	}
	pressed := !m.anyFree(key, false)
	if pressed {
		m.collectPressed(kept)
	}
	if !m.anyFree(key, pressed) {
		m.Events["searched for a port in vain"]++
		m.noteInVain(space)
		return 0, "DROP_NO_PORT"
	}
	got, own := m.oracle.Port(key), key.Inside.Port()
	if got == own {
		m.Events["kept the source port"]++
	} else {
		m.Events["got another port"]++
	}
	if got != own && m.isFree(key, own, pressed) {
		m.fault("session %v has outside port %d, and its own is free", key, got)
	}
	if !m.isFree(key, got, pressed) {
		m.fault("session %v has outside port %d, which is out of the range, somebody's or a socket's", key, got)
		got = m.firstFree(key)
	}
	if m.Mapping == Dependent {
		if owner, s := m.holder(key, got); s != nil {
			m.Events["took over a port"]++
			m.end(owner, s)
		}
	}
	return got, ""
}

// noteInVain remembers a search in vain, and forgets another that is remembered at the same place.
func (m *Model) noteInVain(space Space) {
	for other := range m.InVain {
		if m.oracle.Meet(other, space) {
			delete(m.InVain, other)
		}
	}
	m.InVain[space] = m.now
}

// firstFree is one way to go on after a fault.
func (m *Model) firstFree(key SessionKey) uint16 {
	port := m.Range[0]
	for !m.isFree(key, port, true) {
		port++
	}
	return port
}

// isExhausted says whether the space was searched in vain within the last second, and nothing has been given back.
func (m *Model) isExhausted(space Space) bool {
	at, ok := m.InVain[space]
	if !ok {
		return false
	}
	least, most := int32(m.now.From-at.To), int32(m.now.To-at.From+1)
	switch {
	case most < exhaustedFor:
		return true
	case least >= exhaustedFor:
		return false
	}
	return m.oracle.Exhausted(space)
}

// takeToken says whether there was a token: the bucket fills by rate a second up to burst. Its time is in milliseconds and its
// level in thousandths, both as the programs have them, since they know the time better; to is the bucket after the packet.
func (m *Model) takeToken(b *Bucket, to Bucket, rate, burst uint32) bool {
	least, most := b.level(m.now.From, rate, burst), b.level(m.now.To, rate, burst)
	if to == *b {
		if least >= 1000 {
			m.fault("bucket %+v: no token was taken, and there are %d to %d thousandths", *b, least, most)
		}
		return false
	}
	level := uint64(to.Level) + 1000
	if most < 1000 || level > most || level < least || to.At-m.now.From > m.now.To-m.now.From {
		m.fault("bucket %+v became %+v, and there were %d to %d thousandths at %+v", *b, to, least, most, m.now)
	}
	*b = to
	return true
}

func (b Bucket) level(now, rate, burst uint32) uint64 {
	full := uint64(burst) * 1000
	if b == (Bucket{}) {
		return full
	}
	return min(uint64(b.Level)+uint64(now-b.At)*uint64(rate), full)
}
