// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"flyover/bpf"
)

// Mapping is an outside port that stands for an inside port, whatever the remote.
type Mapping struct {
	// Proto is as in Session.
	Proto uint8
	// Inside and Outside are the ends; of ICMP queries the identifiers are in place of ports.
	Inside, Outside netip.AddrPort
	// Sessions that have a share in it, those included that have expired and have not been collected.
	Sessions uint32
}

type mappingTable = Table[bpf.DatapathMapping4Key, bpf.DatapathMapping4Entry]

func (p Pins) mappings() (*mappingTable, error) {
	return OpenTable[bpf.DatapathMapping4Key, bpf.DatapathMapping4Entry](p, bpf.DatapathMapFoMappings4)
}

// EachMapping is EachSession for mappings.
func (p Pins) EachMapping(visit func(Mapping) error) error {
	t, err := p.mappings()
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Scan(func(k bpf.DatapathMapping4Key, e bpf.DatapathMapping4Entry) error {
		return visit(Mapping{
			Proto:    k.Proto,
			Inside:   addrPort(k.Inside, k.InsidePort),
			Outside:  addrPort(k.Outside, e.OutsidePort),
			Sessions: e.Sessions,
		})
	})
}

// Mappings is how many there are, and the most that there can be.
func (p Pins) Mappings() (entries, capacity uint32, err error) {
	t, err := p.mappings()
	if err != nil {
		return 0, 0, err
	}
	defer t.Close()
	err = t.Scan(func(bpf.DatapathMapping4Key, bpf.DatapathMapping4Entry) error {
		entries++
		return nil
	})
	return entries, t.m.MaxEntries(), err
}

// ForgetAddresses removes what is kept of outside addresses that no uplink has and no mapping. None of them may become an uplink's meanwhile.
func (p Pins) ForgetAddresses() error {
	uplinks, err := OpenTable[bpf.DatapathUplinkKey, bpf.DatapathUplinkEntry](p, bpf.DatapathMapFoUplinks)
	if err != nil {
		return err
	}
	defer uplinks.Close()
	bitmaps, err := OpenTable[bpf.DatapathBitmapKey, bpf.DatapathBitmapEntry](p, bpf.DatapathMapFoBitmaps)
	if err != nil {
		return err
	}
	defer bitmaps.Close()
	used := map[[4]byte]bool{}
	if err := uplinks.Each(func(_ bpf.DatapathUplinkKey, e bpf.DatapathUplinkEntry) { used[e.Source4] = true }); err != nil {
		return err
	}
	var unused []bpf.DatapathBitmapKey
	err = bitmaps.Each(func(k bpf.DatapathBitmapKey, b bpf.DatapathBitmapEntry) {
		if !used[k.Outside] && b.Taken == [len(b.Taken)]uint64{} {
			unused = append(unused, k)
		}
	})
	for _, k := range unused {
		err = errors.Join(err, bitmaps.Delete(k))
	}
	return err
}

// Usage is how much of the translation an endpoint has taken.
type Usage struct {
	// Sessions that hold a port, those included that have expired and have not been collected.
	Sessions uint32 `json:"sessions"`
	// Mappings, each an outside port.
	Mappings uint32 `json:"mappings"`
}

type usageTable = Table[uint32, bpf.DatapathUsageEntry]

func (p Pins) usages() (*usageTable, error) {
	return OpenTable[uint32, bpf.DatapathUsageEntry](p, bpf.DatapathMapFoUsage)
}

// Usage returns that of the endpoint with this number.
func (p Pins) Usage(endpoint uint32) (Usage, error) {
	t, err := p.usages()
	if err != nil {
		return Usage{}, err
	}
	defer t.Close()
	e, ok, err := t.Get(endpoint)
	if err == nil && !ok {
		err = fmt.Errorf("look up usage of endpoint %d: no such endpoint", endpoint)
	}
	return Usage{Sessions: e.Sessions, Mappings: e.Mappings}, err
}

// addrPort takes both as they are in the maps: in the order of the wire.
func addrPort(addr [4]byte, port uint16) netip.AddrPort {
	var wire [2]byte
	binary.NativeEndian.PutUint16(wire[:], port)
	return netip.AddrPortFrom(netip.AddrFrom4(addr), binary.BigEndian.Uint16(wire[:]))
}
