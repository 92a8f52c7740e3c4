// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"errors"
	"net/netip"

	"flyover/bpf"
)

// Flush ends the sessions of the inside addresses that concerned says yes to, and returns how many of them were live. What they
// hold is given back: outside ports, mappings, and their part in the endpoints' usage. Packets may pass meanwhile: their flows
// begin anew.
//
// It does as session4_end() of lib/session.h does, and so leaves the entries of the sessions, dead, to their tokens in fo_expiry.
// What that does in one instruction takes a read and a write here. An entry that a packet changes in between, microseconds, is
// wrong by that change: at worst a new session of the same inside port ends early, or a count is off by one.
func (p Pins) Flush(ctx context.Context, concerned func(netip.Addr) bool) (live int, err error) {
	f, err := p.openFlush()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.usages.giveBack(), f.close()) }()
	err = f.sessions.Scan(func(k bpf.DatapathSession4Key, e bpf.DatapathSession4Entry) error {
		if !holds(e) || !concerned(netip.AddrFrom4(k.Inside)) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return f.end(k)
	})
	return f.live, err
}

// flush is one run of Flush.
type flush struct {
	sessions *sessionTable
	replies  *Table[bpf.DatapathReply4Key, bpf.DatapathReply4Entry]
	mappings *mappingTable
	ports    *Table[bpf.DatapathPort4Key, bpf.DatapathPort4Entry]
	usages   *refund
	clock    clock
	live     int
}

func (p Pins) openFlush() (*flush, error) {
	var f flush
	var usages *usageTable
	var errs [6]error
	f.sessions, errs[0] = p.sessions()
	f.replies, errs[1] = OpenTable[bpf.DatapathReply4Key, bpf.DatapathReply4Entry](p, bpf.DatapathMapFoReplies4)
	f.mappings, errs[2] = p.mappings()
	f.ports, errs[3] = OpenTable[bpf.DatapathPort4Key, bpf.DatapathPort4Entry](p, bpf.DatapathMapFoPorts4)
	usages, errs[4] = p.usages()
	f.usages = &refund{table: usages, due: map[uint32]Usage{}}
	f.clock, errs[5] = readClock()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return &f, nil
}

func (f *flush) close() error {
	return errors.Join(f.sessions.Close(), f.replies.Close(), f.mappings.Close(), f.ports.Close(), f.usages.table.Close())
}

// end ends one session, if it has not ended by now.
func (f *flush) end(k bpf.DatapathSession4Key) error {
	e, ok, err := f.sessions.Get(k)
	if err != nil || !ok || !holds(e) {
		return err
	}
	if f.clock.left(k.Proto, e) >= 0 {
		f.live++
	}
	dead := e
	dead.Life.State = bpf.DatapathSessionStateSESSION_DEAD
	if ok, err := f.sessions.Replace(k, dead); err != nil || !ok {
		return err
	}
	return f.release(k, e)
}

// release is session4_release() of lib/session.h.
func (f *flush) release(k bpf.DatapathSession4Key, e bpf.DatapathSession4Entry) error {
	var err error
	ended := Usage{Sessions: 1}
	if e.Flags&bpf.DatapathSessionFlagsSESSION_OPEN == 0 {
		err = f.putReply(k, e)
	}
	if e.Flags&bpf.DatapathSessionFlagsSESSION_MAPPED != 0 {
		last, putErr := f.putMapping(k, e)
		err = errors.Join(err, putErr)
		if last {
			ended.Mappings = 1
		}
	}
	return errors.Join(err, f.usages.add(uint32(e.Endpoint), ended))
}

// putReply gives back a share in the index entry, which goes with its last.
func (f *flush) putReply(k bpf.DatapathSession4Key, e bpf.DatapathSession4Entry) error {
	key := bpf.DatapathReply4Key{
		Remote: k.Remote, Outside: e.Outside, RemotePort: k.RemotePort, OutsidePort: e.OutsidePort, Proto: k.Proto,
	}
	if e.Flags&bpf.DatapathSessionFlagsSESSION_MAPPED != 0 {
		key.RemotePort = 0
	}
	r, ok, err := f.replies.Get(key)
	if err != nil || !ok || r.Inside != k.Inside || r.InsidePort != k.InsidePort {
		return err
	}
	if r.Sessions > 1 {
		r.Sessions--
		_, err = f.replies.Replace(key, r)
		return err
	}
	return f.replies.Delete(key)
}

// putMapping gives back a share in the mapping, and tells whether it was the last: then the outside port is free.
func (f *flush) putMapping(k bpf.DatapathSession4Key, e bpf.DatapathSession4Entry) (last bool, err error) {
	key := bpf.DatapathMapping4Key{Inside: k.Inside, Outside: e.Outside, InsidePort: k.InsidePort, Proto: k.Proto}
	m, ok, err := f.mappings.Get(key)
	if err != nil || !ok {
		return false, err
	}
	if m.Sessions > 1 {
		m.Sessions--
		_, err = f.mappings.Replace(key, m)
		return false, err
	}
	// In this order: as long as the mapping is there, nobody makes it anew.
	port := bpf.DatapathPort4Key{Outside: e.Outside, OutsidePort: m.OutsidePort, Proto: k.Proto}
	if err := f.ports.Delete(port); err != nil {
		return false, err
	}
	_, last, err = f.mappings.Take(key)
	return last, err
}

// refund is what endpoints are to get back of their usage. It is summed up, since each write to the table may lose what the
// programs count at that moment.
type refund struct {
	table *usageTable
	due   map[uint32]Usage
	ended int // since the last giveBack
}

// refundEvery is after how many sessions usage is corrected: a Flush that is killed leaves no more of it wrong.
const refundEvery = 4096

// add notes that a session of the endpoint has ended. A number that is no endpoint's is the host's, which nothing counts.
func (r *refund) add(endpoint uint32, ended Usage) error {
	sum := r.due[endpoint]
	r.due[endpoint] = Usage{Sessions: sum.Sessions + ended.Sessions, Mappings: sum.Mappings + ended.Mappings}
	if r.ended++; r.ended < refundEvery {
		return nil
	}
	return r.giveBack()
}

func (r *refund) giveBack() error {
	var errs []error
	for endpoint, due := range r.due {
		have, ok, err := r.table.Get(endpoint)
		if ok {
			have.Sessions -= min(have.Sessions, due.Sessions)
			have.Mappings -= min(have.Mappings, due.Mappings)
			err = r.table.Put(endpoint, have)
		}
		errs = append(errs, err)
	}
	clear(r.due)
	r.ended = 0
	return errors.Join(errs...)
}
