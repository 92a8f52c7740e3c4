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
	sessionKey   = bpf.DatapathSession4Key
	sessionEntry = bpf.DatapathSession4Entry
	replyKey     = bpf.DatapathReply4Key
	replyEntry   = bpf.DatapathReply4Entry
)

// timeouts are the datapath's defaults by protocol, for those states that last; see session_timeout().
var timeouts = map[uint8]uint32{unix.IPPROTO_UDP: 300, unix.IPPROTO_ICMP: 60}

func timeoutOf(proto uint8, state bpf.DatapathSessionState) uint32 {
	if timeout, ok := timeouts[proto]; ok {
		return timeout
	}
	switch state {
	case bpf.DatapathSessionStateSESSION_ESTABLISHED:
		return 7440
	case bpf.DatapathSessionStateSESSION_CLOSED:
		return 15
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

func replyKeyOf(key sessionKey, s sessionEntry) replyKey {
	return replyKey{
		Remote: key.Remote, Outside: s.Outside,
		RemotePort: key.RemotePort, OutsidePort: s.OutsidePort, Proto: key.Proto,
	}
}

// checkBijection holds the tables to what the datapath promises at rest: every live session has exactly one index entry, with the
// same life, that points back to it; no index entry is live without its session; nothing is left claimed. So no two live
// sessions share protocol, remote and outside port.
func (d *datapath) checkBijection(t testing.TB) {
	t.Helper()
	now := monotonic(t)
	sessions := entries[sessionKey, sessionEntry](t, d.FoSessions4)
	replies := entries[replyKey, replyEntry](t, d.FoReplies4)
	owners := map[replyKey]sessionKey{}
	for key, s := range sessions {
		if s.Life.State == bpf.DatapathSessionStateSESSION_CLAIMED {
			t.Errorf("session %v is claimed by nobody", key)
		}
		if !isLive(now, s.Life.Seen, s.Life.State, key.Proto) {
			continue
		}
		index := replyKeyOf(key, s)
		if other, taken := owners[index]; taken {
			t.Errorf("sessions %v and %v share outside port %d", key, other, be16(s.OutsidePort))
		}
		owners[index] = key
		r, ok := replies[index]
		if !ok || r.Inside != key.Inside || r.InsidePort != key.InsidePort {
			t.Errorf("session %v: its index entry is %+v, found %v", key, r, ok)
		} else if r.Life.Seen != s.Life.Seen || r.Life.State != s.Life.State {
			t.Errorf("session %v lives %+v, its index entry %+v", key, s.Life, r.Life)
		}
	}
	for index, r := range replies {
		if _, ok := owners[index]; !ok && isLive(now, r.Life.Seen, r.Life.State, index.Proto) {
			t.Errorf("index entry %v %+v is live and has no session", index, r)
		}
		if r.Life.State == bpf.DatapathSessionStateSESSION_CLAIMED {
			t.Errorf("index entry %v is claimed by nobody", index)
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
		if err := d.FoExpiry.LookupAndDelete(nil, &key); err != nil {
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

// age makes a session as old as if its last packet had come seconds ago.
func (d *datapath) age(t testing.TB, key sessionKey, seconds uint32) {
	t.Helper()
	s := d.session(t, key)
	index := replyKeyOf(key, s)
	var r replyEntry
	if err := d.FoReplies4.Lookup(index, &r); err != nil {
		t.Fatalf("look up reply of %v: %v", key, err)
	}
	s.Life.Seen -= seconds
	r.Life.Seen -= seconds
	put(t, d.FoSessions4, key, s)
	put(t, d.FoReplies4, index, r)
}
