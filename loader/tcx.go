// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// tcx attaches by links, each pinned under its interface: a link is owned by its pin and can be replaced in one step.
type tcx struct {
	pins Pins
}

var _ attacher = tcx{}

func (t tcx) attach(ifindex int, at Point, prog *ebpf.Program) error {
	l, _, err := t.open(ifindex, at)
	if err == nil {
		defer l.Close()
		return l.Update(prog)
	}
	if !errors.Is(err, ErrNotAttached) {
		return err
	}
	options := link.TCXOptions{Interface: ifindex, Program: prog, Attach: attachType(at)}
	if at.first() {
		options.Anchor = link.Head()
	}
	l, err = link.AttachTCX(options)
	if err != nil {
		return err
	}
	defer l.Close()
	pin := t.pins.link(ifindex, at)
	if err := t.pins.make(t.pins.links(), filepath.Dir(pin)); err != nil {
		return err
	}
	return l.Pin(pin)
}

func (t tcx) attached(ifindex int, at Point) (ebpf.ProgramID, error) {
	l, prog, err := t.open(ifindex, at)
	if err != nil {
		return 0, err
	}
	return prog, l.Close()
}

func (t tcx) detach(ifindex int, at Point) error {
	pin := t.pins.link(ifindex, at)
	if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	t.pins.removeEmpty(filepath.Dir(pin))
	return nil
}

// open returns the pinned link and the program that it runs. A pin whose interface has gone is removed, since a later interface may get the number.
func (t tcx) open(ifindex int, at Point) (link.Link, ebpf.ProgramID, error) {
	pin := t.pins.link(ifindex, at)
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, ErrNotAttached
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open link %s: %w", pin, err)
	}
	info, err := l.Info()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("look at link %s: %w", pin, err), l.Close())
	}
	if t := info.TCX(); t != nil && int(t.Ifindex) == ifindex {
		return l, info.Program, nil
	}
	if err := errors.Join(l.Close(), os.Remove(pin)); err != nil {
		return nil, 0, fmt.Errorf("remove defunct link %s: %w", pin, err)
	}
	return nil, 0, ErrNotAttached
}

func attachType(at Point) ebpf.AttachType {
	if at.egress() {
		return ebpf.AttachTCXEgress
	}
	return ebpf.AttachTCXIngress
}

// BestHook is TCX where the kernel has it, clsact otherwise.
func BestHook() (Hook, error) {
	err := probeTCX()
	if err == nil {
		return TCX, nil
	}
	if errors.Is(err, ebpf.ErrNotSupported) {
		return Clsact, nil
	}
	return "", fmt.Errorf("probe tcx: %w", err)
}

// probeTCX asks an interface that cannot exist for its programs: a kernel with TCX says that there is no such interface.
func probeTCX() error {
	_, err := link.QueryPrograms(link.QueryOptions{Target: int(^uint32(0) >> 1), Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if errors.Is(err, unix.EINVAL) {
		return ebpf.ErrNotSupported
	}
	return err
}

// RemoveDefunctLinks removes the pins of links whose interface has gone.
func (p Pins) RemoveDefunctLinks() error {
	dirs, err := os.ReadDir(p.links())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, d := range dirs {
		ifindex, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		for _, at := range Points() {
			errs = append(errs, p.removeDefunct(ifindex, at))
		}
	}
	return errors.Join(errs...)
}

func (p Pins) removeDefunct(ifindex int, at Point) error {
	l, _, err := tcx{pins: p}.open(ifindex, at)
	if errors.Is(err, ErrNotAttached) {
		p.removeEmpty(filepath.Dir(p.link(ifindex, at)))
		return nil
	}
	if err != nil {
		return err
	}
	return l.Close()
}
