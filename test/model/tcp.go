// SPDX-License-Identifier: Apache-2.0

package model

// State is that of a session, in the order of the datapath's enum.
type State uint32

// The states; see docs/nat.md.
const (
	Dead State = iota
	Claimed
	Opening
	Joined
	Established
	FinOut
	FinIn
	LastOut
	LastIn
	Reset
	Closed
)

func (s State) String() string {
	return [...]string{"dead", "claimed", "opening", "joined", "established", "fin_out", "fin_in", "last_out", "last_in", "reset",
		"closed"}[s]
}

// Flags of a segment.
const (
	fin = 1
	syn = 2
	rst = 4
	ack = 16
)

// How far from what the inside expects a segment from outside still counts.
const (
	windowAhead  = 1 << 20
	windowBehind = 1 << 16
)

// segment is what of a TCP packet matters to its session.
type segment struct {
	flags    uint8
	seq, ack uint32
}

func (s segment) has(flag uint8) bool { return s.flags&flag != 0 }

// opens says whether the segment begins a connection.
func (s segment) opens() bool { return s.has(syn) && !s.has(ack) }

// begin is the state of a session that the inside begins with s, and what the outside is expected to answer.
func (s segment) begin() (State, uint32) {
	if s.opens() {
		return Opening, s.seq + 1
	}
	return Joined, s.ack
}

// bothClosed says whether each side has sent FIN or the connection is over.
func bothClosed(s State) bool { return s >= LastOut }

// nextOut is the state and the mark after a segment from inside, which is believed.
func nextOut(state State, mark uint32, s segment) (State, uint32) {
	switch {
	case s.opens() && (state == Opening || state >= FinOut):
		mark = s.seq + 1
	case !s.opens() && state != Opening && s.has(ack) && !s.has(rst) && int32(s.ack-mark) > 0:
		mark = s.ack
	}
	switch {
	case s.has(rst):
		if state != Closed {
			state = Reset
		}
	case s.has(syn):
		if s.opens() && state >= FinOut {
			state = Opening // the same tuple again
		}
	case s.has(fin):
		if state == FinIn {
			state = LastIn
		} else if !bothClosed(state) {
			state = FinOut
		}
	case state == LastOut && s.has(ack):
		state = Closed
	case state == Reset:
		state = Established // it lives on after all
	}
	return state, mark
}

// nextIn is the state and the mark after a segment from outside, which may be forged (RFC 5961, RFC 7857).
func nextIn(state State, mark uint32, s segment) (State, uint32) {
	answers := s.has(ack) && s.ack == mark
	ahead := s.seq - mark
	switch {
	case state == Opening && s.has(rst):
		if answers {
			state = Closed
		}
	case state == Opening:
		if s.has(syn) && answers {
			return Established, s.seq + 1
		}
	case s.has(rst):
		if ahead == 0 {
			state = Closed
		} else if ahead < windowAhead && state != Closed {
			state = Reset
		}
	case s.has(syn), ahead+windowBehind >= windowAhead+windowBehind:
		// changes nothing
	case state == Reset, state == Closed:
		// only the inside can revive it
	case s.has(fin):
		if state == FinOut {
			state = LastOut
		} else if !bothClosed(state) {
			state = FinIn
		}
	case state == LastIn && s.has(ack):
		state = Closed
	case state == Joined:
		state = Established
	}
	return state, mark
}
