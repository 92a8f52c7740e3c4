// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

/*
 * feeder is a program that puts the next of its frames into the packet and goes on to another program by a tail call. So BPF_PROG_RUN
 * with repeats, which is hot and has its two looks at the clock once for all runs, gives that program a new packet each time:
 * sessions that are new, or chosen at random out of a million. What the feeder itself takes is measured by one that goes nowhere.
 */
type feeder struct {
	program *ebpf.Program
	frame   []byte // the first, for its length, which all of them have
	turn    *ebpf.Map
}

// frameRoom is the size of the map's entries, one cache line.
const frameRoom = 64

// newFeeder feeds target, nil for nobody, with the frames one after the other, from the first again after the last.
func newFeeder(t testing.TB, target *ebpf.Program, frames [][frameRoom]byte, length int) *feeder {
	t.Helper()
	all := mustMap(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: frameRoom, MaxEntries: uint32(len(frames))})
	turn := mustMap(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	next := mustMap(t, &ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	indices := make([]uint32, len(frames))
	for i := range indices {
		indices[i] = uint32(i)
	}
	if _, err := all.BatchUpdate(indices, frames, nil); err != nil {
		t.Fatalf("put frames: %v", err)
	}
	if target != nil {
		put(t, next, uint32(0), target)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: feed(all, turn, next, len(frames), length),
	})
	if err != nil {
		t.Fatalf("load feeder: %+v", err)
	}
	t.Cleanup(func() { program.Close() })
	return &feeder{program, frames[0][:length], turn}
}

func mustMap(t testing.TB, spec *ebpf.MapSpec) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func feed(frames, turn, next *ebpf.Map, count, length int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, turn.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.LoadMem(asm.R7, asm.R0, 0, asm.DWord),
		asm.StoreMem(asm.RFP, -4, asm.R7, asm.Word),
		asm.Add.Imm(asm.R7, 1),
		asm.JLT.Imm(asm.R7, int32(count), "store"),
		asm.Mov.Imm(asm.R7, 0),
		asm.StoreMem(asm.R0, 0, asm.R7, asm.DWord).WithSymbol("store"),
		asm.LoadMapPtr(asm.R1, frames.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.R0), asm.Mov.Imm(asm.R4, int32(length)), asm.Mov.Imm(asm.R5, 0),
		asm.FnSkbStoreBytes.Call(),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, next.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("end"), asm.Return(),
	}
}

// run feeds the next n frames and returns the time that each took. The last must end in action.
func (f *feeder) run(t testing.TB, n int, action int32) time.Duration {
	t.Helper()
	got, duration, err := f.program.Benchmark(f.frame, n, nil)
	if err != nil || int32(got) != action {
		t.Fatalf("action %d, error %v, want action %d", int32(got), err, action)
	}
	return duration
}

// own is what the feeder itself takes for such frames.
func own(t testing.TB, frames [][frameRoom]byte, length, n int) time.Duration {
	t.Helper()
	f := newFeeder(t, nil, frames, length)
	f.run(t, n, 0)
	return f.run(t, n, 0)
}
