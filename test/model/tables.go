// SPDX-License-Identifier: Apache-2.0

package model

import (
	"maps"
	"net/netip"
	"slices"
)

// SessionKey is a flow as the inside sees it. An ICMP query's identifier is the inside's port, and the remote has port 0.
type SessionKey struct {
	Inside, Remote netip.AddrPort
	Proto          uint8
}

// Life is how a session is, and when the inside was last heard of.
type Life struct {
	State State
	Seen  uint32
}

// Session is a translated flow. One that is dead holds nothing.
type Session struct {
	Life
	Outside netip.AddrPort
	NextHop netip.Addr // invalid: not known
	Mark    uint32     // TCP: what the outside is expected to send next, or to answer
	Owner   int        // endpoint
}

// PermitKey is what the outside calls a flow, or, with remote port 0, all flows of a mapping to one address.
type PermitKey struct {
	Remote, Outside netip.AddrPort
	Proto           uint8
}

// Permit lets a remote in.
type Permit struct {
	Life     // of the session that lasts longest, even if it has ended since
	Inside   netip.AddrPort
	Owner    int
	Sessions uint32
}

// MappingKey is an inside port and the address that the outside sees.
type MappingKey struct {
	Inside  netip.AddrPort
	Outside netip.Addr
	Proto   uint8
}

// MappingEntry is which outside port stands for an inside port.
type MappingEntry struct {
	Port     uint16
	Sessions uint32
}

// PortKey is an outside port.
type PortKey struct {
	Outside netip.AddrPort
	Proto   uint8
}

// PortOwner is whose a mapping's outside port is.
type PortOwner struct {
	Life   // of the session that lasts longest, if anybody may come in; else of the first
	Inside netip.AddrPort
	Owner  int
}

// Usage is what an endpoint has taken.
type Usage struct {
	Sessions, Mappings uint32
	Makes, Answers     Bucket
	Broadcasts         Bucket // frames for everybody
}

// Space is what ports are taken of: an address towards one remote, or, for mappings, towards all.
type Space struct {
	Outside netip.Addr
	Remote  netip.AddrPort
	Proto   uint8
}

// Tables are all that is remembered from one packet to the next.
type Tables struct {
	Sessions map[SessionKey]*Session
	Permits  map[PermitKey]*Permit
	Mappings map[MappingKey]*MappingEntry
	Ports    map[PortKey]*PortOwner
	Usage    map[int]*Usage
	// Tokens has one for each session, the one that was looked at longest ago first.
	Tokens []SessionKey
	// InVain is when a space was last searched in vain.
	InVain map[Space]Time
	// collectedInVain is when looking at tokens last found nothing that was over.
	collectedInVain map[patience]Time
	// Datagrams are those in fragments.
	Datagrams map[DatagramKey]*Datagram
}

func newTables() Tables {
	return Tables{
		Sessions: map[SessionKey]*Session{}, Permits: map[PermitKey]*Permit{}, Mappings: map[MappingKey]*MappingEntry{},
		Ports: map[PortKey]*PortOwner{}, Usage: map[int]*Usage{}, InVain: map[Space]Time{}, collectedInVain: map[patience]Time{},
		Datagrams: map[DatagramKey]*Datagram{},
	}
}

func cloneEntries[K comparable, V any](m map[K]*V) map[K]*V {
	c := make(map[K]*V, len(m))
	for k, v := range m {
		copied := *v
		c[k] = &copied
	}
	return c
}

func (t Tables) clone() Tables {
	return Tables{
		Sessions: cloneEntries(t.Sessions), Permits: cloneEntries(t.Permits), Mappings: cloneEntries(t.Mappings),
		Ports: cloneEntries(t.Ports), Usage: cloneEntries(t.Usage),
		Tokens: slices.Clone(t.Tokens), InVain: maps.Clone(t.InVain), collectedInVain: maps.Clone(t.collectedInVain), Datagrams: cloneEntries(t.Datagrams),
	}
}

// Age makes everything as old as if so many seconds had passed.
func (t Tables) Age(seconds uint32) {
	for _, s := range t.Sessions {
		s.Seen -= seconds
	}
	for _, p := range t.Permits {
		p.Seen -= seconds
	}
	for _, p := range t.Ports {
		p.Seen -= seconds
	}
	clear(t.collectedInVain)
}

// Touched is what may have changed.
type Touched struct {
	Sessions  []SessionKey
	Permits   []PermitKey
	Mappings  []MappingKey
	Ports     []PortKey
	Owners    []int
	Datagrams []DatagramKey
}

// note adds a key once.
func note[K comparable](keys *[]K, key K) {
	if !slices.Contains(*keys, key) {
		*keys = append(*keys, key)
	}
}

func (m *Model) usage(owner int) *Usage {
	u := m.Usage[owner]
	if u == nil {
		u = &Usage{}
		m.Usage[owner] = u
	}
	note(&m.Touched.Owners, owner)
	return u
}

func (m *Model) session(key SessionKey) *Session {
	note(&m.Touched.Sessions, key)
	return m.Sessions[key]
}

func (m *Model) permit(key PermitKey) *Permit {
	note(&m.Touched.Permits, key)
	return m.Permits[key]
}

func (m *Model) mapping(key MappingKey) *MappingEntry {
	note(&m.Touched.Mappings, key)
	return m.Mappings[key]
}

func (m *Model) port(key PortKey) *PortOwner {
	note(&m.Touched.Ports, key)
	return m.Ports[key]
}

// permitKey is which permit belongs to a session.
func (m *Model) permitKey(key SessionKey, outside netip.AddrPort) PermitKey {
	remote := key.Remote
	if m.Mapping != Dependent {
		remote = netip.AddrPortFrom(remote.Addr(), 0)
	}
	return PermitKey{remote, outside, key.Proto}
}

func mappingKey(key SessionKey, outside netip.Addr) MappingKey {
	return MappingKey{key.Inside, outside, key.Proto}
}

// Timeouts in seconds (RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2), and for how long more the port of what has expired is kept
// (RFC 6888 REQ-8).
const (
	timeoutEstablished = 7440
	timeoutTransitory  = 240
	timeoutClosed      = 10
	timeoutUDP         = 300
	timeoutICMP        = 60
	hold               = 120
)

func (l Life) timeout(proto uint8) uint32 {
	switch {
	case proto == udp:
		return timeoutUDP
	case proto == icmp || proto == icmp6:
		return timeoutICMP
	case l.State == Established || l.State == FinOut || l.State == FinIn:
		return timeoutEstablished
	case l.State == Closed:
		return timeoutClosed
	}
	return timeoutTransitory
}

// isLive says whether a packet may use the session.
func (m *Model) isLive(l Life, proto uint8) bool {
	return l.State > Claimed && m.now.Seconds-l.Seen <= l.timeout(proto)
}

// Ways to look whether an entry may go to others.
type patience int

const (
	expired patience = iota // what has expired goes
	kept                    // its port is kept for a while more
)

// isOver says whether an entry may go. Pressed: something has run out, and what has closed properly need not wait for its end.
func (m *Model) isOver(l Life, proto uint8, how patience, pressed bool) bool {
	switch {
	case l.State == Dead:
		return true
	case l.State == Claimed:
		return false
	case l.State == Closed:
		return pressed || !m.isLive(l, proto)
	case how == kept:
		return m.now.Seconds-l.Seen > l.timeout(proto)+hold
	}
	return !m.isLive(l, proto)
}
