// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"flyover/bpf"
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

// timeouts are the datapath's defaults by protocol, for those states that last; see session_timeout().
var timeouts = map[uint8]uint32{unix.IPPROTO_UDP: 300, unix.IPPROTO_ICMP: 60}

// portHold is for how many seconds more an expired session's port is kept; see port_hold.
const portHold = 120

func timeoutOf(proto uint8, state bpf.DatapathSessionState) uint32 {
	if timeout, ok := timeouts[proto]; ok {
		return timeout
	}
	switch state {
	case bpf.DatapathSessionStateSESSION_ESTABLISHED, bpf.DatapathSessionStateSESSION_FIN_OUT, bpf.DatapathSessionStateSESSION_FIN_IN:
		return 7440
	case bpf.DatapathSessionStateSESSION_CLOSED:
		return 10
	}
	return 240
}

// monotonic is the datapath's clock, in seconds.
func monotonic(t testing.TB) uint32 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now); err != nil {
		t.Fatal(err)
	}
	return uint32(now.Sec)
}

func isLive(now, seen uint32, state bpf.DatapathSessionState, proto uint8) bool {
	return state > bpf.DatapathSessionStateSESSION_CLAIMED && now-seen <= timeoutOf(proto, state)
}

// entries reads a whole map.
func entries[K comparable, V any](t testing.TB, m *ebpf.Map) map[K]V {
	t.Helper()
	all := map[K]V{}
	var key K
	var value V
	for it := m.Iterate(); it.Next(&key, &value); {
		all[key] = value
	}
	return all
}

func isMapped(s sessionEntry) bool { return s.Flags&bpf.DatapathSessionFlagsSESSION_MAPPED != 0 }

func isOpen(s sessionEntry) bool { return s.Flags&bpf.DatapathSessionFlagsSESSION_OPEN != 0 }

func replyKeyOf(key sessionKey, s sessionEntry) replyKey {
	index := replyKey{Remote: key.Remote, Outside: s.Outside, OutsidePort: s.OutsidePort, Proto: key.Proto}
	if !isMapped(s) {
		index.RemotePort = key.RemotePort
	}
	return index
}

func mappingKeyOf(key sessionKey, s sessionEntry) mappingKey {
	return mappingKey{Inside: key.Inside, Outside: s.Outside, InsidePort: key.InsidePort, Proto: key.Proto}
}

func portKeyOf(key mappingKey, m mappingEntry) portKey {
	return portKey{Outside: key.Outside, OutsidePort: m.OutsidePort, Proto: key.Proto}
}

// checkBijection holds the tables to what the datapath promises at rest: every session that holds a port is counted by the index
// entry, the mapping and the usage that it shares, and by no other; every index entry and every outside port has one inside; and
// nothing is left claimed or over. Between a session that shares with none and its index entry the life is the same.
func (d *datapath) checkBijection(t testing.TB) {
	t.Helper()
	replies, mappings := map[replyKey]uint32{}, map[mappingKey]uint32{}
	usage := map[uint16]uint32{}
	for key, s := range entries[sessionKey, sessionEntry](t, d.FoSessions4) {
		if s.Life.State == bpf.DatapathSessionStateSESSION_CLAIMED {
			t.Errorf("session %v is claimed by nobody", key)
		}
		if s.Life.State <= bpf.DatapathSessionStateSESSION_CLAIMED {
			continue
		}
		usage[s.Endpoint]++
		if isMapped(s) {
			mappings[mappingKeyOf(key, s)]++
			d.checkMapping(t, key, s)
		}
		if !isOpen(s) {
			replies[replyKeyOf(key, s)]++
			d.checkReply(t, key, s)
		}
	}
	for _, s := range entries[sessionKey6, sessionEntry6](t, d.six.FoSessions6) { // limits are both families'
		if s.Life.State > uint32(bpf.DatapathSessionStateSESSION_CLAIMED) {
			usage[s.Endpoint]++
		}
	}
	for index, r := range entries[replyKey, replyEntry](t, d.FoReplies4) {
		if r.Sessions != replies[index] {
			t.Errorf("index entry %v %+v has %d sessions", index, r, replies[index])
		}
	}
	d.checkPorts(t, mappings)
	d.checkUsage(t, usage)
}

// checkReply compares a session with its index entry.
func (d *datapath) checkReply(t testing.TB, key sessionKey, s sessionEntry) {
	t.Helper()
	var r replyEntry
	if err := d.FoReplies4.Lookup(replyKeyOf(key, s), &r); err != nil {
		t.Errorf("session %v: look up its index entry: %v", key, err)
	}
	if r.Inside != key.Inside || r.InsidePort != key.InsidePort {
		t.Errorf("session %v: its index entry is %+v", key, r)
	}
	if r.Sessions == 1 && !d.outlived && (r.Life.Seen != s.Life.Seen || r.Life.State != s.Life.State) {
		t.Errorf("session %v lives %+v, its index entry %+v", key, s.Life, r.Life)
	}
}

// checkMapping compares a session with its mapping.
func (d *datapath) checkMapping(t testing.TB, key sessionKey, s sessionEntry) {
	t.Helper()
	var m mappingEntry
	if err := d.FoMappings4.Lookup(mappingKeyOf(key, s), &m); err != nil || m.OutsidePort != s.OutsidePort {
		t.Errorf("session %v has outside port %d, its mapping is %+v: %v", key, be16(s.OutsidePort), m, err)
	}
}

// checkPorts holds each mapping to have the sessions that are counted and a port of its own, whose bit is set, and no other bit to be; with an
// open filter each port has its entry, and none without.
func (d *datapath) checkPorts(t testing.TB, sessions map[mappingKey]uint32) {
	t.Helper()
	claims, ports := d.claims(t), entries[portKey, portEntry](t, d.FoPorts4)
	for key, m := range entries[mappingKey, mappingEntry](t, d.FoMappings4) {
		at := portKeyOf(key, m)
		if m.Sessions != sessions[key] {
			t.Errorf("mapping %v %+v has %d sessions", key, m, sessions[key])
		}
		if !claims[at] {
			t.Errorf("mapping %v %+v: the bit of its port is not set, or it is another's, too", key, m)
		}
		p, open := ports[at]
		if want := d.mapping == openFilter; open != want || open && (p.Inside != key.Inside || p.InsidePort != key.InsidePort) {
			t.Errorf("mapping %v %+v: its port is %+v, open %v, want %v", key, m, p, open, want)
		}
		delete(claims, at)
		delete(ports, at)
	}
	for key := range claims {
		t.Errorf("port %v has no mapping, and its bit is set", key)
	}
	for key, p := range ports {
		t.Errorf("port %v %+v has no mapping", key, p)
	}
}

func isClaimed(b *bpf.DatapathBitmapEntry, port uint16) bool {
	return b.Taken[port/64]>>(port%64)&1 == 1
}

// claims are the outside ports whose bit is set.
func (d *datapath) claims(t testing.TB) map[portKey]bool {
	t.Helper()
	all := map[portKey]bool{}
	for key, b := range entries[bpf.DatapathBitmapKey, bpf.DatapathBitmapEntry](t, d.FoBitmaps4) {
		for port := range 1 << 16 {
			if isClaimed(&b, uint16(port)) {
				all[portKey{Outside: key.Outside, Proto: key.Proto, OutsidePort: be16(uint16(port))}] = true
			}
		}
	}
	return all
}

// checkUsage compares what is counted of each endpoint with its sessions.
func (d *datapath) checkUsage(t testing.TB, sessions map[uint16]uint32) {
	t.Helper()
	for id := range d.endpoints[1:] {
		var u bpf.DatapathUsageEntry
		if err := d.FoUsage.Lookup(uint32(id+1), &u); err != nil {
			t.Fatal(err)
		}
		if u.Sessions != sessions[uint16(id+1)] {
			t.Errorf("endpoint %d is said to have %d sessions, has %d", id+1, u.Sessions, sessions[uint16(id+1)])
		}
		mappings := uint32(0)
		for key := range entries[mappingKey, mappingEntry](t, d.FoMappings4) {
			if key.Inside == d.endpoints[id+1].addr.As4() {
				mappings++
			}
		}
		for key := range entries[mappingKey6, mappingEntry6](t, d.six.FoMappings6) {
			if key.Inside == d.endpoints[id+1].addr6.As16() {
				mappings++
			}
		}
		if u.Mappings != mappings {
			t.Errorf("endpoint %d is said to have %d mappings, has %d", id+1, u.Mappings, mappings)
		}
	}
}

// checkTokens takes all tokens out: one for each entry of the session table, or it could never be collected. Nothing can be
// collected afterwards.
func (d *datapath) checkTokens(t testing.TB) {
	t.Helper()
	tokens := map[sessionKey]int{}
	for {
		var key sessionKey
		if err := d.FoExpiry4.LookupAndDelete(nil, &key); err != nil {
			if !errors.Is(err, ebpf.ErrKeyNotExist) {
				t.Fatalf("take token: %v", err)
			}
			break
		}
		tokens[key]++
	}
	for key := range entries[sessionKey, sessionEntry](t, d.FoSessions4) {
		if tokens[key] != 1 {
			t.Errorf("session %v has %d tokens, want 1", key, tokens[key])
		}
		delete(tokens, key)
	}
	for key, n := range tokens {
		t.Errorf("%d tokens of %v, which is no entry", n, key)
	}
}

// count is how many sessions are live.
func (d *datapath) count(t testing.TB) int {
	t.Helper()
	live, now := 0, monotonic(t)
	for key, s := range entries[sessionKey, sessionEntry](t, d.FoSessions4) {
		if isLive(now, s.Life.Seen, s.Life.State, key.Proto) {
			live++
		}
	}
	return live
}

// session is the entry of the key, which must be there.
func (d *datapath) session(t testing.TB, key sessionKey) sessionEntry {
	t.Helper()
	var s sessionEntry
	if err := d.FoSessions4.Lookup(key, &s); err != nil {
		t.Fatalf("look up session %v: %v", key, err)
	}
	return s
}

// forgetPressed lets the next packet that finds something run out look at tokens again, as if time had passed.
func (d *datapath) forgetPressed(t testing.TB) {
	t.Helper()
	var e bpf.DatapathPressedEntry
	if err := d.FoPressed4.Lookup(uint32(0), &e); err != nil {
		t.Fatal(err)
	}
	e.Vain = [2]uint32{}
	put(t, d.FoPressed4, uint32(0), e)
}

// forgetExhausted lets the next search look at all ports again, as if time had passed.
func (d *datapath) forgetExhausted(t testing.TB) {
	t.Helper()
	keys := make([]uint32, d.FoExhausted.MaxEntries())
	for i := range keys {
		keys[i] = uint32(i)
	}
	if _, err := d.FoExhausted.BatchUpdate(keys, make([]bpf.DatapathExhaustedEntry, len(keys)), nil); err != nil {
		t.Fatal(err)
	}
}

// age makes a session as old as if its last packet had come seconds ago.
func (d *datapath) age(t testing.TB, key sessionKey, seconds uint32) {
	t.Helper()
	d.forgetExhausted(t)
	d.forgetPressed(t)
	s := d.session(t, key)
	s.Life.Seen -= seconds
	put(t, d.FoSessions4, key, s)
	if isOpen(s) {
		index := portKey{Outside: s.Outside, OutsidePort: s.OutsidePort, Proto: key.Proto}
		var p portEntry
		if err := d.FoPorts4.Lookup(index, &p); err != nil {
			t.Fatalf("look up port of %v: %v", key, err)
		}
		p.Life.Seen -= seconds
		put(t, d.FoPorts4, index, p)
		return
	}
	index := replyKeyOf(key, s)
	var r replyEntry
	if err := d.FoReplies4.Lookup(index, &r); err != nil {
		t.Fatalf("look up reply of %v: %v", key, err)
	}
	r.Life.Seen -= seconds
	put(t, d.FoReplies4, index, r)
}
