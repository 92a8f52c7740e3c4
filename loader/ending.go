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
	return p.endSessions(inside.As4())
}

// EndAllSessions is EndSessions for every inside address.
func (p Pins) EndAllSessions() (live int, err error) { return p.endSessions([4]byte{}) }

func (p Pins) endSessions(inside [4]byte) (live int, err error) {
	end, err := p.loadEnd()
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
	ended, err := end.Run(&ebpf.RunOptions{Context: bpf.DatapathEndRequest{Inside: inside, Now: now}})
	if err != nil {
		return 0, fmt.Errorf("end sessions: %w", err)
	}
	return int(ended), nil
}

// loadEnd brings end_sessions into the kernel, for the pinned maps, unless there are none. It is needed for a moment only.
func (p Pins) loadEnd() (*ebpf.Program, error) {
	t, err := p.sessions()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	spec, err := specification(t.m.MaxEntries())
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
