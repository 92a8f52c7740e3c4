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

// Sessions is how full the session table is.
type Sessions struct {
	// Live sessions are those that a packet may use now.
	Live uint32 `json:"live"`
	// Entries in the table, those included that are over and have not been collected.
	Entries uint32 `json:"entries"`
	// Capacity of the table.
	Capacity uint32 `json:"capacity"`
}

// Holds tells whether the pinned session table is of this size.
func (p Pins) Holds(sessions uint32) bool {
	t, err := p.sessions()
	if err != nil {
		return false
	}
	defer t.Close()
	return t.m.MaxEntries() == sessions
}

// Sessions counts by walking the table.
func (p Pins) Sessions() (Sessions, error) {
	var s Sessions
	t, err := p.sessions()
	if err != nil {
		return s, err
	}
	defer t.Close()
	s.Capacity = t.m.MaxEntries()
	c, err := readClock()
	if err != nil {
		return s, err
	}
	err = t.Scan(func(k bpf.DatapathSession4Key, e bpf.DatapathSession4Entry) error {
		s.Entries++
		if holds(e) && c.left(k.Proto, e) >= 0 {
			s.Live++
		}
		return nil
	})
	return s, err
}

// Session is one translated flow that holds an outside port.
type Session struct {
	// Proto is IPPROTO_TCP, IPPROTO_UDP or IPPROTO_ICMP.
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
	t, err := p.sessions()
	if err != nil {
		return err
	}
	defer t.Close()
	c, err := readClock()
	if err != nil {
		return err
	}
	return t.Scan(func(k bpf.DatapathSession4Key, e bpf.DatapathSession4Entry) error {
		if !holds(e) {
			return nil
		}
		return visit(Session{
			Proto:   k.Proto,
			Inside:  addrPort(k.Inside, k.InsidePort),
			Outside: addrPort(e.Outside, e.OutsidePort),
			Remote:  addrPort(k.Remote, k.RemotePort),
			State:   SessionState(e.Life.State),
			Mapped:  e.Flags&bpf.DatapathSessionFlagsSESSION_MAPPED != 0,
			Idle:    max(0, int(c.age(e))),
			Left:    int(c.left(k.Proto, e)),
		})
	})
}

type sessionTable = Table[bpf.DatapathSession4Key, bpf.DatapathSession4Entry]

func (p Pins) sessions() (*sessionTable, error) {
	return OpenTable[bpf.DatapathSession4Key, bpf.DatapathSession4Entry](p, bpf.DatapathMapFoSessions4)
}

// holds tells whether the entry is a session, and nobody is making or ending it: only then it has a port.
func holds(e bpf.DatapathSession4Entry) bool {
	return e.Life.State > bpf.DatapathSessionStateSESSION_CLAIMED
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
func (c clock) age(e bpf.DatapathSession4Entry) int32 { return int32(c.now - e.Life.Seen) }

// left is how many seconds the session may be idle yet: session_is_within() of lib/life.h, in one number.
func (c clock) left(proto uint8, e bpf.DatapathSession4Entry) int32 {
	return int32(c.timeouts.of(proto, e.Life.State)) - c.age(e)
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
	case proto == unix.IPPROTO_ICMP:
		return t.icmp
	case state >= bpf.DatapathSessionStateSESSION_ESTABLISHED && state <= bpf.DatapathSessionStateSESSION_FIN_IN:
		return t.established
	case state == bpf.DatapathSessionStateSESSION_CLOSED:
		return t.closed
	}
	return t.transitory
}
