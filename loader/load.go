// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"

	"flyover/bpf"
)

// packetTypeFixed is the first kernel whose bpf_redirect_peer sets the packet type itself: 6.15.
const packetTypeFixed = 6<<16 | 15<<8

// Build names a generation of programs: what they are compiled from, and the version of flyover that brought them.
func Build(version string) string {
	sum := sha256.Sum256(append(append([]byte(nil), bpf.Object()...), version...))
	return hex.EncodeToString(sum[:8])
}

// Whole says whether the generation build is pinned with every program and every map.
func (p Pins) Whole(build string) bool {
	var pinned []string
	for _, at := range Points() {
		pinned = append(pinned, p.Program(build, at))
	}
	for _, name := range mapNames {
		pinned = append(pinned, p.Map(name))
	}
	return !slices.ContainsFunc(pinned, func(pin string) bool {
		_, err := os.Stat(pin)
		return err != nil
	})
}

// mapNames are the maps that are pinned. The others hold nothing that is worth keeping from one generation to the next.
var mapNames = []string{
	bpf.DatapathMapFoBitmaps,
	bpf.DatapathMapFoDatagramIds,
	bpf.DatapathMapFoDatagrams4,
	bpf.DatapathMapFoEndpoints,
	bpf.DatapathMapFoExempt4,
	bpf.DatapathMapFoExhausted,
	bpf.DatapathMapFoExpiry,
	bpf.DatapathMapFoFdb,
	bpf.DatapathMapFoMappings4,
	bpf.DatapathMapFoNeighbours4,
	bpf.DatapathMapFoNetworks,
	bpf.DatapathMapFoPorts4,
	bpf.DatapathMapFoPressed,
	bpf.DatapathMapFoReasons,
	bpf.DatapathMapFoReplies4,
	bpf.DatapathMapFoSessions4,
	bpf.DatapathMapFoSubnets4,
	bpf.DatapathMapFoTraffic,
	bpf.DatapathMapFoUplinks,
	bpf.DatapathMapFoUsage,
}

// Generations lists the builds that have a pinned program.
func (p Pins) Generations() ([]string, error) {
	entries, err := os.ReadDir(p.progs())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list generations of programs: %w", err)
	}
	var builds []string
	for _, e := range entries {
		builds = append(builds, e.Name())
	}
	return builds, nil
}

// Check refuses pins that cannot be trusted, see Pins.
func (p Pins) Check() error { return p.check() }

// Load brings the programs of this build into the kernel and pins them, whole or not at all. Maps that are pinned are kept with
// what they hold; missing ones are made. Nothing is attached.
//
// Sessions is how many the host can have at once.
func (p Pins) Load(build string, sessions uint32) error {
	if err := p.make(p.Maps(), p.progs()); err != nil {
		return err
	}
	spec, err := specification(sessions)
	if err != nil {
		return err
	}
	delete(spec.Programs, bpf.DatapathProgEndSessions) // see EndSessions
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: p.Maps()}})
	if err != nil {
		return explainLoad(err)
	}
	defer coll.Close()
	return p.pinPrograms(build, coll)
}

// specification is the compiled datapath, prepared for this kernel and for so many sessions.
func specification(sessions uint32) (*ebpf.CollectionSpec, error) {
	spec, err := bpf.LoadDatapath()
	if err != nil {
		return nil, fmt.Errorf("read compiled datapath: %w", err)
	}
	for at, name := range kernelNames {
		spec.Programs[string(at)].Name = name
	}
	spec.Programs[bpf.DatapathProgEndSessions].Name = "fo_end_sessions"
	for _, name := range mapNames {
		spec.Maps[name].Pinning = ebpf.PinByName
	}
	for _, name := range []string{bpf.DatapathMapFoSessions4, bpf.DatapathMapFoReplies4, bpf.DatapathMapFoExpiry} {
		spec.Maps[name].MaxEntries = sessions
	}
	for _, name := range []string{bpf.DatapathMapFoMappings4, bpf.DatapathMapFoPorts4} {
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
	return spec, nil
}

// pinPrograms pins one program after the other, and none if one cannot be.
func (p Pins) pinPrograms(build string, coll *ebpf.Collection) error {
	dir := filepath.Dir(p.Program(build, FromEndpoint))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make pin directory %s: %w", dir, err)
	}
	for _, at := range Points() {
		pin := p.Program(build, at)
		if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("replace pin %s: %w", pin, err)
		}
		if err := coll.Programs[string(at)].Pin(pin); err != nil {
			return errors.Join(fmt.Errorf("pin program %s: %w", at, err), p.Unload(build))
		}
	}
	return nil
}

// Unload removes the pins of one generation. It goes on running where it is attached.
func (p Pins) Unload(build string) error {
	dir := filepath.Join(p.progs(), build)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove programs %s: %w", build, err)
	}
	p.removeEmpty(p.progs())
	return nil
}

// Remove removes everything that is pinned, of any schema: programs, maps with what they hold, and links, which detaches their programs.
func (p Pins) Remove() error {
	others, err := p.otherSchemas()
	if err != nil {
		return err
	}
	for _, dir := range append(others, p.root) {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove pins: %w", err)
		}
	}
	p.removeEmpty(p.top)
	return nil
}

// Exist says whether anything is pinned, or a run that was killed has left the directory for it.
func (p Pins) Exist() bool {
	_, err := os.Stat(p.top)
	return err == nil
}

// explainLoad adds to a load error what a user can do about it.
func explainLoad(err error) error {
	var rejected *ebpf.VerifierError
	if errors.As(err, &rejected) {
		return fmt.Errorf("load datapath: the kernel's verifier refuses it: %w", rejected)
	}
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return fmt.Errorf("load datapath: a pinned map has another layout; run `flyover down`, then `flyover up`: sessions end: %w", err)
	}
	return fmt.Errorf("load datapath: %w", err)
}
