// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"

	"flyover/bpf"
)

// Build names a generation of programs: what they are compiled from, and the version of flyover that brought them.
func Build(version string) string {
	sum := sha256.Sum256(append(append([]byte(nil), bpf.Object()...), version...))
	return hex.EncodeToString(sum[:8])
}

// Whole says whether the generation build is pinned with every program and every map.
func (p Pins) Whole(build string) bool {
	pinned := []string{p.twins(build)}
	for _, at := range Points() {
		pinned = append(pinned, p.Program(build, at))
	}
	for _, f := range families {
		for _, name := range f.pinned() {
			pinned = append(pinned, p.Map(name))
		}
	}
	return !slices.ContainsFunc(pinned, func(pin string) bool {
		_, err := os.Stat(pin)
		return err != nil
	})
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
	six, err := p.load(ipv6, sessions)
	if err != nil {
		return err
	}
	defer six.Close()
	four, err := p.load(ipv4, sessions)
	if err != nil {
		return err
	}
	defer four.Close()
	twins := four.Maps[bpf.DatapathMapFoTwins]
	for at, hook := range hooks {
		if err := twins.Put(hook, six.Programs[string(at)]); err != nil {
			return fmt.Errorf("join program %s with its twin for IPv6: %w", at, err)
		}
	}
	return p.pinPrograms(build, four)
}

// load brings the programs of one family into the kernel, but for that of EndSessions.
func (p Pins) load(f family, sessions uint32) (*ebpf.Collection, error) {
	spec, err := f.specification(sessions)
	if err != nil {
		return nil, err
	}
	delete(spec.Programs, bpf.DatapathProgEndSessions)
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: p.Maps()}})
	if err != nil {
		return nil, explainLoad(err)
	}
	return coll, nil
}

// pinPrograms pins one program after the other, and the way to those for IPv6, or none if one cannot be.
func (p Pins) pinPrograms(build string, four *ebpf.Collection) error {
	dir := filepath.Dir(p.Program(build, FromEndpoint))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make pin directory %s: %w", dir, err)
	}
	type pinner interface{ Pin(path string) error }
	all := map[string]pinner{p.twins(build): four.Maps[bpf.DatapathMapFoTwins]}
	for _, at := range Points() {
		all[p.Program(build, at)] = four.Programs[string(at)]
	}
	for pin, object := range all {
		if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("replace pin %s: %w", pin, err)
		}
		if err := object.Pin(pin); err != nil {
			return errors.Join(fmt.Errorf("pin %s: %w", pin, err), p.Unload(build))
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
