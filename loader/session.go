// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"flyover/bpf"
)

// Sessions is how full the session tables are.
type Sessions struct {
	// Live sessions are those that a packet may use now.
	Live uint32 `json:"live"`
	// Entries in the tables, those included that are over and have not been collected.
	Entries uint32 `json:"entries"`
	// Capacity of each address family's table.
	Capacity uint32 `json:"capacity"`
}

// Holds tells whether the pinned session tables are of this size.
func (p Pins) Holds(sessions uint32) bool {
	t, err := p.sessions4()
	if err != nil {
		return false
	}
	defer t.Close()
	return t.m.MaxEntries() == sessions
}

// Sessions counts by walking the tables.
func (p Pins) Sessions() (Sessions, error) {
	var s Sessions
	t, err := p.sessions4()
	if err != nil {
		return s, err
	}
	s.Capacity = t.m.MaxEntries()
	if err := t.Close(); err != nil {
		return s, err
	}
	c, err := readClock()
	if err != nil {
		return s, err
	}
	err = p.scanSessions(func(e Session, seen uint32) error {
		s.Entries++
		if e.State.holds() && c.left(e.Proto, e.State, seen) >= 0 {
			s.Live++
		}
		return nil
	})
	return s, err
}

// Session is one translated flow that holds an outside port.
type Session struct {
	// Proto is IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP or IPPROTO_ICMPV6.
	Proto uint8
	// Inside, Outside and Remote are the ends. Of an ICMP query the identifiers are in place of ports, and Remote has none.
	Inside, Outside, Remote netip.AddrPort
	State                   SessionState
	// Mapped says that the outside port is a mapping's, see EachMapping.
	Mapped bool
	// Idle is how many seconds ago the last packet from inside came.
	Idle int
	// Left is how many seconds the session may be idle yet. Below 0: it has expired, and waits to be collected.
	Left int
}

// EachSession calls visit for every session, in no order, each once. Those that begin or end meanwhile may be left out. It stops
// at the first error of visit.
func (p Pins) EachSession(visit func(Session) error) error {
	c, err := readClock()
	if err != nil {
		return err
	}
	return p.scanSessions(func(s Session, seen uint32) error {
		if !s.State.holds() {
			return nil
		}
		s.Idle, s.Left = max(0, int(c.age(seen))), int(c.left(s.Proto, s.State, seen))
		return visit(s)
	})
}

// scanSessions calls visit for every entry of both families' tables, and with when its last packet came, seconds of CLOCK_MONOTONIC.
func (p Pins) scanSessions(visit func(s Session, seen uint32) error) error {
	four, err := p.sessions4()
	if err != nil {
		return err
	}
	defer four.Close()
	six, err := OpenTable[bpf.Datapath6SessionKey, bpf.Datapath6SessionEntry](p, bpf.Datapath6MapFoSessions6)
	if err != nil {
		return err
	}
	defer six.Close()
	if err := four.Scan(func(k bpf.DatapathSessionKey, e bpf.DatapathSessionEntry) error {
		return visit(Session{
			Proto: k.Proto, State: SessionState(e.Life.State), Mapped: e.Flags&bpf.DatapathSessionFlagsSESSION_MAPPED != 0,
			Inside: addrPort(k.Inside[:], k.InsidePort), Outside: addrPort(e.Outside[:], e.OutsidePort), Remote: addrPort(k.Remote[:], k.RemotePort),
		}, e.Life.Seen)
	}); err != nil {
		return err
	}
	return six.Scan(func(k bpf.Datapath6SessionKey, e bpf.Datapath6SessionEntry) error {
		return visit(Session{
			Proto: k.Proto, State: SessionState(e.Life.State), Mapped: bpf.DatapathSessionFlags(e.Flags)&bpf.DatapathSessionFlagsSESSION_MAPPED != 0,
			Inside: addrPort(k.Inside[:], k.InsidePort), Outside: addrPort(e.Outside[:], e.OutsidePort), Remote: addrPort(k.Remote[:], k.RemotePort),
		}, e.Life.Seen)
	})
}

func (p Pins) sessions4() (*Table[bpf.DatapathSessionKey, bpf.DatapathSessionEntry], error) {
	return OpenTable[bpf.DatapathSessionKey, bpf.DatapathSessionEntry](p, bpf.DatapathMapFoSessions4)
}

// SessionState is enum session_state of lib/tcp.h.
type SessionState bpf.DatapathSessionState

// stateNames are the names in the enum, read from the object's type information: there is no second list to forget.
var stateNames = sync.OnceValues(func() (map[SessionState]string, error) {
	spec, err := bpf.LoadDatapath()
	if err != nil {
		return nil, err
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("session_state", &enum); err != nil {
		return nil, err
	}
	names := map[SessionState]string{}
	for _, v := range enum.Values {
		names[SessionState(v.Value)] = strings.ToLower(strings.TrimPrefix(v.Name, "SESSION_"))
	}
	return names, nil
})

// String returns the name in the enum without its prefix: "established".
func (s SessionState) String() string {
	names, err := stateNames()
	if err != nil {
		return "unknown (" + err.Error() + ")"
	}
	return names[s]
}

// holds tells whether an entry in this state is a session, and nobody is making or ending it: only then it has a port.
func (s SessionState) holds() bool {
	return bpf.DatapathSessionState(s) > bpf.DatapathSessionStateSESSION_CLAIMED
}

// clock is what the programs judge a session's age by, see lib/life.h.
type clock struct {
	timeouts timeouts
	now      uint32 // seconds of CLOCK_MONOTONIC, as bpf_ktime_get_coarse_ns has it
}

func readClock() (clock, error) {
	now, err := readNow()
	if err != nil {
		return clock{}, err
	}
	t, err := readTimeouts()
	return clock{timeouts: t, now: now}, err
}

// readNow is session_now() of lib/life.h.
func readNow() (uint32, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0, fmt.Errorf("read monotonic clock: %w", err)
	}
	return uint32(ts.Sec), nil
}

// age is below 0 if a packet came after the clock was read.
func (c clock) age(seen uint32) int32 { return int32(c.now - seen) }

// left is how many seconds the session may be idle yet: session_is_within() of lib/life.h, in one number.
func (c clock) left(proto uint8, state SessionState, seen uint32) int32 {
	return int32(c.timeouts.of(proto, bpf.DatapathSessionState(state))) - c.age(seen)
}

// timeouts are the settings of lib/life.h, seconds.
type timeouts struct {
	established, transitory, closed, udp, icmp uint32
}

// readTimeouts reads them from the compiled datapath: they are set nowhere else.
func readTimeouts() (timeouts, error) {
	var t timeouts
	spec, err := bpf.LoadDatapath()
	if err != nil {
		return t, fmt.Errorf("read compiled datapath: %w", err)
	}
	for name, field := range map[string]*uint32{
		bpf.DatapathVarTimeoutTcpEstablished: &t.established,
		bpf.DatapathVarTimeoutTcpTransitory:  &t.transitory,
		bpf.DatapathVarTimeoutTcpClosed:      &t.closed,
		bpf.DatapathVarTimeoutUdp:            &t.udp,
		bpf.DatapathVarTimeoutIcmp:           &t.icmp,
	} {
		if err := spec.Variables[name].Get(field); err != nil {
			return t, fmt.Errorf("read datapath variable %s: %w", name, err)
		}
	}
	return t, nil
}

// of is session_timeout() of lib/life.h.
func (t timeouts) of(proto uint8, state bpf.DatapathSessionState) uint32 {
	switch {
	case proto == unix.IPPROTO_UDP:
		return t.udp
	case proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6:
		return t.icmp
	case state >= bpf.DatapathSessionStateSESSION_ESTABLISHED && state <= bpf.DatapathSessionStateSESSION_FIN_IN:
		return t.established
	case state == bpf.DatapathSessionStateSESSION_CLOSED:
		return t.closed
	}
	return t.transitory
}
