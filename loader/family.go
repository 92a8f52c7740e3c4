// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"

	"flyover/bpf"
)

// Kernels, as LINUX_VERSION_CODE, that the programs need not help any more.
const (
	// packetTypeFixed is the first whose bpf_redirect_peer sets the packet type itself: 6.15.
	packetTypeFixed = 6<<16 | 15<<8
	// checksumFixed is the first whose bpf_l4_csum_replace knows IPv6: 6.16.
	checksumFixed = 6<<16 | 16<<8
)

// family is the datapath of one address family.
type family struct {
	read func() (*ebpf.CollectionSpec, error)
	// maps are those that only it has, of those that are pinned. The others hold nothing that is worth keeping from one generation to
	// the next.
	maps []string
	// sessions are the maps with as many entries as there can be sessions, mappings those with no more.
	sessions, mappings []string
	// suffix is what the kernel's names of its programs end in.
	suffix string
}

var (
	ipv4 = family{
		read: bpf.LoadDatapath,
		maps: []string{
			bpf.DatapathMapFoBitmaps4, bpf.DatapathMapFoDatagrams4, bpf.DatapathMapFoExempt4, bpf.DatapathMapFoExpiry4,
			bpf.DatapathMapFoMappings4, bpf.DatapathMapFoNeighbours4, bpf.DatapathMapFoPorts4, bpf.DatapathMapFoPressed4,
			bpf.DatapathMapFoReplies4, bpf.DatapathMapFoSessions4, bpf.DatapathMapFoSubnets4,
		},
		sessions: []string{bpf.DatapathMapFoSessions4, bpf.DatapathMapFoReplies4, bpf.DatapathMapFoExpiry4},
		mappings: []string{bpf.DatapathMapFoMappings4, bpf.DatapathMapFoPorts4},
	}
	ipv6 = family{
		read: bpf.LoadDatapath6,
		maps: []string{
			bpf.Datapath6MapFoBitmaps6, bpf.Datapath6MapFoDatagrams6, bpf.Datapath6MapFoExempt6, bpf.Datapath6MapFoExpiry6,
			bpf.Datapath6MapFoMappings6, bpf.Datapath6MapFoNeighbours6, bpf.Datapath6MapFoPorts6, bpf.Datapath6MapFoPressed6,
			bpf.Datapath6MapFoReplies6, bpf.Datapath6MapFoSessions6, bpf.Datapath6MapFoSubnets6,
		},
		sessions: []string{bpf.Datapath6MapFoSessions6, bpf.Datapath6MapFoReplies6, bpf.Datapath6MapFoExpiry6},
		mappings: []string{bpf.Datapath6MapFoMappings6, bpf.Datapath6MapFoPorts6},
		suffix:   "6",
	}
	families = []family{ipv4, ipv6}
)

// pinned are the maps of the family that are pinned.
func (f family) pinned() []string { return slices.Concat(f.maps, bpf.SharedMaps()) }

// specification is the compiled datapath of the family, prepared for this kernel and for so many sessions.
func (f family) specification(sessions uint32) (*ebpf.CollectionSpec, error) {
	spec, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("read compiled datapath: %w", err)
	}
	for at, name := range kernelNames {
		spec.Programs[string(at)].Name = name + f.suffix
	}
	spec.Programs[bpf.DatapathProgEndSessions].Name = "fo_end_session" + f.suffix
	for _, name := range f.pinned() {
		spec.Maps[name].Pinning = ebpf.PinByName
	}
	for _, name := range f.sessions {
		spec.Maps[name].MaxEntries = sessions
	}
	for _, name := range f.mappings {
		spec.Maps[name].MaxEntries = min(spec.Maps[name].MaxEntries, sessions) // each mapping has a session
	}
	version, err := features.LinuxVersionCode()
	if err != nil {
		return nil, fmt.Errorf("read kernel version: %w", err)
	}
	var secret [4]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("draw port secret: %w", err)
	}
	if err := errors.Join(
		spec.Variables[bpf.DatapathVarPeerNeedsPacketType].Set(version < packetTypeFixed),
		spec.Variables[bpf.DatapathVarPortSecret].Set(binary.NativeEndian.Uint32(secret[:])),
	); err != nil {
		return nil, fmt.Errorf("set datapath variable: %w", err)
	}
	if knows, ok := spec.Variables[bpf.Datapath6VarCsumKnowsIpv6]; ok { // IPv4's object has no use for it
		if err := knows.Set(version >= checksumFixed); err != nil {
			return nil, fmt.Errorf("set datapath variable: %w", err)
		}
	}
	return spec, nil
}
