// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

// ErrNotAttached says that no program of ours is at the point.
var ErrNotAttached = errors.New("not attached")

// attacher is one mechanism that runs programs at points. Nothing that somebody else has attached is touched.
type attacher interface {
	// attach puts prog at the point, or lets it take the place of ours there in one step.
	attach(ifindex int, at Point, prog *ebpf.Program) error
	// attached returns the id of our program at the point, or ErrNotAttached.
	attached(ifindex int, at Point) (ebpf.ProgramID, error)
	// detach removes our program from the point. None there is not an error.
	detach(ifindex int, at Point) error
}

func (p Pins) attacher(hook Hook) attacher {
	if hook == TCX {
		return tcx{pins: p}
	}
	return clsact{}
}

// Attach runs the program of generation build at the point, in place of an older generation's if there is one; no packet passes
// without a program in between.
func (p Pins) Attach(hook Hook, ifindex int, at Point, build string) error {
	prog, err := p.program(build, at)
	if err != nil {
		return err
	}
	defer prog.Close()
	if err := p.attacher(hook).attach(ifindex, at, prog); err != nil {
		return fmt.Errorf("attach %s by %s to interface %d: %w", at, hook, ifindex, err)
	}
	return nil
}

// Attached returns the program of ours that is at the point; ErrNotAttached if there is none.
func (p Pins) Attached(hook Hook, ifindex int, at Point) (ebpf.ProgramID, error) {
	have, err := p.attacher(hook).attached(ifindex, at)
	if err != nil {
		return 0, fmt.Errorf("look for %s by %s at interface %d: %w", at, hook, ifindex, err)
	}
	return have, nil
}

// ProgramID returns the program of generation build for the point; ErrNotAttached if the generation is not there.
func (p Pins) ProgramID(build string, at Point) (ebpf.ProgramID, error) {
	prog, err := p.program(build, at)
	if err != nil {
		return 0, err
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return 0, fmt.Errorf("look at program %s: %w", at, err)
	}
	id, _ := info.ID()
	return id, nil
}

// Detach removes the program from the point. None there, or no such interface, is not an error.
func (p Pins) Detach(hook Hook, ifindex int, at Point) error {
	if err := p.attacher(hook).detach(ifindex, at); err != nil {
		return fmt.Errorf("detach %s by %s from interface %d: %w", at, hook, ifindex, err)
	}
	return nil
}

// program opens a pinned program; ErrNotAttached if the generation is not there.
func (p Pins) program(build string, at Point) (*ebpf.Program, error) {
	prog, err := ebpf.LoadPinnedProgram(p.Program(build, at), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open program %s of build %s: %w", at, build, ErrNotAttached)
	}
	if err != nil {
		return nil, fmt.Errorf("open program %s of build %s: %w", at, build, err)
	}
	return prog, nil
}
