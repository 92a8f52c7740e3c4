// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/bits"

	"flyover/bpf"
	"flyover/loader"
)

type (
	sessionKey   = bpf.DatapathSessionKey
	sessionEntry = bpf.DatapathSessionEntry
	replyKey     = bpf.DatapathReplyKey
	replyEntry   = bpf.DatapathReplyEntry
	mappingKey   = bpf.DatapathMappingKey
	mappingEntry = bpf.DatapathMappingEntry
	portKey      = bpf.DatapathPortKey
	portEntry    = bpf.DatapathPortEntry
)

// share is who holds an index entry or a mapping, by the sessions.
type share struct {
	inside     [4]byte
	insidePort uint16
	sessions   uint32
}

// tables are all of the translation, read while nothing sends.
type tables struct {
	sessions, dead int
	wrong          int // sessions, index entries, mappings and ports that do not belong together
	replies        map[replyKey]share
	mappings       map[mappingKey]share
	ports          map[portKey]bool
}

// readTables compares them: each session has the index entry and the mapping that it should have, these count their sessions
// and nobody else's, each port whose bit is set has one mapping, and none is left over.
func readTables() (*tables, error) {
	t := &tables{replies: map[replyKey]share{}, mappings: map[mappingKey]share{}, ports: map[portKey]bool{}}
	if err := scan(bpf.DatapathMapFoSessions4, t.addSession); err != nil {
		return nil, err
	}
	// What the sessions want is struck off as it is found.
	if err := scan(bpf.DatapathMapFoReplies4, func(k replyKey, r replyEntry) {
		t.strike(t.replies[k] == share{r.Inside, r.InsidePort, r.Sessions})
		delete(t.replies, k)
	}); err != nil {
		return nil, err
	}
	if err := scan(bpf.DatapathMapFoMappings4, func(k mappingKey, m mappingEntry) {
		port := portKey{Outside: k.Outside, OutsidePort: m.OutsidePort, Proto: k.Proto}
		t.strike(t.mappings[k] == share{k.Inside, m.OutsidePort, m.Sessions} && !t.ports[port])
		t.ports[port] = true
		delete(t.mappings, k)
	}); err != nil {
		return nil, err
	}
	err := scan(bpf.DatapathMapFoBitmaps4, t.strikePorts)
	t.wrong += len(t.replies) + len(t.mappings) + len(t.ports)
	return t, err
}

// strikePorts strikes off the mappings' ports whose bits are set.
func (t *tables) strikePorts(k bpf.DatapathBitmapKey, b bpf.DatapathBitmapEntry) {
	for port := range 1 << 16 {
		if b.Taken[port/64]>>(port%64)&1 == 0 {
			continue
		}
		p := portKey{Outside: k.Outside, OutsidePort: bits.ReverseBytes16(uint16(port)), Proto: k.Proto}
		t.strike(t.ports[p])
		delete(t.ports, p)
	}
}

func (t *tables) strike(right bool) {
	if !right {
		t.wrong++
	}
}

func (t *tables) addSession(k sessionKey, s sessionEntry) {
	if s.Life.State <= bpf.DatapathSessionStateSESSION_CLAIMED {
		t.dead++
		return
	}
	t.sessions++
	reply := replyKey{Remote: k.Remote, Outside: s.Outside, RemotePort: k.RemotePort, OutsidePort: s.OutsidePort, Proto: k.Proto}
	if s.Flags&bpf.DatapathSessionFlagsSESSION_MAPPED != 0 {
		reply.RemotePort = 0
		key := mappingKey{Inside: k.Inside, Outside: s.Outside, InsidePort: k.InsidePort, Proto: k.Proto}
		m, there := t.mappings[key]
		t.strike(!there || m.insidePort == s.OutsidePort)
		t.mappings[key] = share{k.Inside, s.OutsidePort, m.sessions + 1} // the port here is the outside's
	}
	r, there := t.replies[reply]
	t.strike(!there || r.inside == k.Inside && r.insidePort == k.InsidePort)
	t.replies[reply] = share{k.Inside, k.InsidePort, r.sessions + 1}
}

func scan[K, V comparable](name string, visit func(K, V)) error {
	t, err := loader.OpenTable[K, V](pins(), name)
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Scan(func(k K, v V) error {
		visit(k, v)
		return nil
	})
}
