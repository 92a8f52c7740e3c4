// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"

	"flyover/bpf"
)

// EndSessions ends every session of the inside address and gives back what they hold: outside ports, mappings, their part in the
// usage of endpoints. It returns how many were live. Packets may pass meanwhile: their flows begin anew. Missing maps are not an error.
//
// The datapath does it, with its own code: see end_sessions in bpf/datapath.c.
func (p Pins) EndSessions(inside netip.Addr) (live int, err error) {
	if inside.Is6() {
		return p.endSessions(ipv6, func(now uint32) any { return bpf.Datapath6EndRequest{Inside: inside.As16(), Now: now} })
	}
	return p.endSessions(ipv4, func(now uint32) any { return bpf.DatapathEndRequest{Inside: inside.As4(), Now: now} })
}

// EndAllSessions is EndSessions for every inside address.
func (p Pins) EndAllSessions() (live int, err error) {
	four, err := p.endSessions(ipv4, func(now uint32) any { return bpf.DatapathEndRequest{Now: now} })
	six, err6 := p.endSessions(ipv6, func(now uint32) any { return bpf.Datapath6EndRequest{Now: now} })
	return four + six, errors.Join(err, err6)
}

// endSessions runs the family's program with the request that is made at that moment.
func (p Pins) endSessions(f family, request func(now uint32) any) (live int, err error) {
	end, err := p.loadEnd(f)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer end.Close()
	now, err := readNow()
	if err != nil {
		return 0, err
	}
	ended, err := end.Run(&ebpf.RunOptions{Context: request(now)})
	if err != nil {
		return 0, fmt.Errorf("end sessions: %w", err)
	}
	return int(ended), nil
}

// loadEnd brings the family's end_sessions into the kernel, for the pinned maps, unless there are none. It is needed for a moment only, and
// has scratch maps of its own: the datapath's programs interrupt it.
func (p Pins) loadEnd(f family) (*ebpf.Program, error) {
	t, err := p.sessions4()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	spec, err := f.specification(t.m.MaxEntries())
	if err != nil {
		return nil, err
	}
	var load struct {
		EndSessions *ebpf.Program `ebpf:"end_sessions"`
	}
	opts := ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: p.Maps()}}
	if err := spec.LoadAndAssign(&load, &opts); err != nil {
		return nil, explainLoad(err)
	}
	return load.EndSessions, nil
}
