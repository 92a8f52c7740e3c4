// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"fmt"

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
	t, err := OpenTable[bpf.DatapathSession4Key, bpf.DatapathSession4Entry](p, bpf.DatapathMapFoSessions4)
	if err != nil {
		return false
	}
	defer t.Close()
	return t.m.MaxEntries() == sessions
}

// Sessions counts by walking the table.
func (p Pins) Sessions() (Sessions, error) {
	var s Sessions
	t, err := OpenTable[bpf.DatapathSession4Key, bpf.DatapathSession4Entry](p, bpf.DatapathMapFoSessions4)
	if err != nil {
		return s, err
	}
	defer t.Close()
	s.Capacity = t.m.MaxEntries()
	now, err := monotonicSeconds()
	if err != nil {
		return s, err
	}
	limits, err := readTimeouts()
	if err != nil {
		return s, err
	}
	err = t.Each(func(k bpf.DatapathSession4Key, e bpf.DatapathSession4Entry) {
		s.Entries++
		if limits.live(k.Proto, e.Life.State, now-e.Life.Seen) {
			s.Live++
		}
	})
	return s, err
}

// timeouts are the settings of lib/session.h, seconds.
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

// live is session_is_live() of lib/session.h.
func (t timeouts) live(proto uint8, state bpf.DatapathSessionState, age uint32) bool {
	limit := t.transitory
	switch {
	case state <= bpf.DatapathSessionStateSESSION_CLAIMED:
		return false
	case proto == unix.IPPROTO_UDP:
		limit = t.udp
	case proto == unix.IPPROTO_ICMP:
		limit = t.icmp
	case state >= bpf.DatapathSessionStateSESSION_ESTABLISHED && state <= bpf.DatapathSessionStateSESSION_FIN_IN:
		limit = t.established
	case state == bpf.DatapathSessionStateSESSION_CLOSED:
		limit = t.closed
	}
	return age <= limit
}

// monotonicSeconds is the clock of the programs, bpf_ktime_get_coarse_ns.
func monotonicSeconds() (uint32, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0, fmt.Errorf("read monotonic clock: %w", err)
	}
	return uint32(ts.Sec), nil
}
