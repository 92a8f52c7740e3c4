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

// EachMapping is EachSession for mappings.
func (p Pins) EachMapping(visit func(Mapping) error) error {
	four, err := p.mappings4()
	if err != nil {
		return err
	}
	defer four.Close()
	six, err := OpenTable[bpf.Datapath6MappingKey, bpf.Datapath6MappingEntry](p, bpf.Datapath6MapFoMappings6)
	if err != nil {
		return err
	}
	defer six.Close()
	if err := four.Scan(func(k bpf.DatapathMappingKey, e bpf.DatapathMappingEntry) error {
		return visit(Mapping{
			Proto: k.Proto, Inside: addrPort(k.Inside[:], k.InsidePort), Outside: addrPort(k.Outside[:], e.OutsidePort), Sessions: e.Sessions,
		})
	}); err != nil {
		return err
	}
	return six.Scan(func(k bpf.Datapath6MappingKey, e bpf.Datapath6MappingEntry) error {
		return visit(Mapping{
			Proto: k.Proto, Inside: addrPort(k.Inside[:], k.InsidePort), Outside: addrPort(k.Outside[:], e.OutsidePort), Sessions: e.Sessions,
		})
	})
}

func (p Pins) mappings4() (*Table[bpf.DatapathMappingKey, bpf.DatapathMappingEntry], error) {
	return OpenTable[bpf.DatapathMappingKey, bpf.DatapathMappingEntry](p, bpf.DatapathMapFoMappings4)
}

// Mappings is how many there are, and the most that there can be of each address family.
func (p Pins) Mappings() (entries, capacity uint32, err error) {
	t, err := p.mappings4()
	if err != nil {
		return 0, 0, err
	}
	capacity = t.m.MaxEntries()
	err = errors.Join(t.Close(), p.EachMapping(func(Mapping) error {
		entries++
		return nil
	}))
	return entries, capacity, err
}

// ForgetAddresses removes what is kept of outside addresses that no uplink has and no mapping. None of them may become an uplink's meanwhile.
func (p Pins) ForgetAddresses() error {
	uplinks, err := OpenTable[bpf.DatapathUplinkKey, bpf.DatapathUplinkEntry](p, bpf.DatapathMapFoUplinks)
	if err != nil {
		return err
	}
	defer uplinks.Close()
	four, six := map[[4]byte]bool{}, map[[16]byte]bool{}
	if err := uplinks.Each(func(_ bpf.DatapathUplinkKey, e bpf.DatapathUplinkEntry) {
		four[e.Source4], six[e.Source6] = true, true
	}); err != nil {
		return err
	}
	return errors.Join(
		forget(p, bpf.DatapathMapFoBitmaps4, func(k bpf.DatapathBitmapKey, b bpf.DatapathBitmapEntry) bool {
			return !four[k.Outside] && b.Taken == [len(b.Taken)]uint64{}
		}),
		forget(p, bpf.Datapath6MapFoBitmaps6, func(k bpf.Datapath6BitmapKey, b bpf.Datapath6BitmapEntry) bool {
			return !six[k.Outside] && b.Taken == [len(b.Taken)]uint64{}
		}),
	)
}

// forget deletes the entries that are unused.
func forget[K, V comparable](p Pins, name string, isUnused func(K, V) bool) error {
	t, err := OpenTable[K, V](p, name)
	if err != nil {
		return err
	}
	defer t.Close()
	var unused []K
	err = t.Each(func(k K, v V) {
		if isUnused(k, v) {
			unused = append(unused, k)
		}
	})
	for _, k := range unused {
		err = errors.Join(err, t.Delete(k))
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
func addrPort(addr []byte, port uint16) netip.AddrPort {
	var wire [2]byte
	binary.NativeEndian.PutUint16(wire[:], port)
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(wire[:]))
}
