// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"flyover/test/lab"
	"flyover/test/wire"
)

// witness sees every packet that arrives at the outside, at its interface and loses none, as a socket would. Datagrams to where
// nobody answers end there.
type witness struct {
	counts *ebpf.Map // by the indices below
	seen   *ebpf.Map // tuple on the wire -> whose it was first
	link   link.Link
}

// What is counted.
const (
	fromUplinkAddress = iota
	fromElsewhere     // an inside address that leaks, or anything else
	distinct          // tuples
	clashes           // datagrams with the tuple of another inside port
	countsLen
)

// Places on the program's stack.
const (
	packetAt = -40 // IPv4 and UDP header, payload: 36 bytes
	tupleAt  = -56 // source, destination, both ports, protocol: 16 bytes
	indexAt  = -60
)

// Fields of struct __sk_buff, and verdicts of TCX.
const (
	skbProtocol = 16
	tcxNext     = -1
	tcxDrop     = 2
)

// newWitness remembers so many tuples; 0 counts only.
func newWitness(tuples int) (*witness, error) {
	w := &witness{}
	var err error
	if w.counts, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: countsLen}); err != nil {
		return nil, err
	}
	if w.seen, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 16, ValueSize: 8, MaxEntries: uint32(max(tuples, 1))}); err != nil {
		return nil, err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: w.program(tuples > 0)})
	if err != nil {
		return nil, fmt.Errorf("load witness: %w", err)
	}
	defer prog.Close()
	w.link, err = wire.In(lab.OutsideNamespace, func() (link.Link, error) {
		i, err := net.InterfaceByName(lab.OutsideInterface)
		if err != nil {
			return nil, err
		}
		return link.AttachTCX(link.TCXOptions{Interface: i.Index, Program: prog, Attach: ebpf.AttachTCXIngress})
	})
	return w, err
}

func (w *witness) close() {
	w.link.Close()
	w.counts.Close()
	w.seen.Close()
}

func (w *witness) count(index uint32) (n uint64, err error) {
	err = w.counts.Lookup(index, &n)
	return n, err
}

// word is four bytes as the program finds them in memory.
func word(b []byte) int32 { return int32(binary.NativeEndian.Uint32(b)) }

func addressWord(text string) int32 { return word(netip.MustParseAddr(text).AsSlice()) }

func (w *witness) program(remember bool) asm.Instructions {
	ip := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R1, skbProtocol, asm.Word),
		asm.JNE.Imm(asm.R2, int32(htons(unix.ETH_P_IP)), "next"),
		asm.Mov.Imm(asm.R2, 14),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, packetAt),
		asm.Mov.Imm(asm.R4, 36),
		asm.FnSkbLoadBytes.Call(),
		asm.LoadMem(asm.R7, asm.RFP, packetAt+12, asm.Word),
		asm.LoadMem(asm.R8, asm.RFP, packetAt+16, asm.Word),
		// TCP segments without data are longer than this too; what is not is none of ours.
		asm.JNE.Imm(asm.R0, 0, "next"),
		asm.Mov.Imm(asm.R1, fromUplinkAddress),
		asm.JEq.Imm32(asm.R7, addressWord(lab.UplinkAddress), "count"),
		asm.Mov.Imm(asm.R1, fromElsewhere),
	}
	ip = append(ip, w.add("count")...)
	ip = append(ip,
		// To where somebody answers?
		asm.JEq.Imm32(asm.R8, addressWord(lab.OutsideAddress), "next"),
		asm.Mov.Reg(asm.R1, asm.R8),
		asm.And.Imm(asm.R1, word([]byte{255, 255, 0, 0})),
		asm.JEq.Imm32(asm.R1, addressWord("198.19.0.0"), "next"),
	)
	if remember {
		ip = append(ip, w.remember()...)
	}
	return append(ip,
		asm.Mov.Imm(asm.R0, tcxDrop).WithSymbol("drop"), asm.Return(),
		asm.Mov.Imm(asm.R0, tcxNext).WithSymbol("next"), asm.Return(),
	)
}

// add counts at the index in R1.
func (w *witness) add(symbol string) asm.Instructions {
	return asm.Instructions{
		asm.StoreMem(asm.RFP, indexAt, asm.R1, asm.Word).WithSymbol(symbol),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, indexAt),
		asm.LoadMapPtr(asm.R1, w.counts.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
	}
}

// remember looks whether the tuple on the wire is always the same inside's.
func (w *witness) remember() asm.Instructions {
	code := asm.Instructions{
		asm.StoreMem(asm.RFP, tupleAt, asm.R7, asm.Word),
		asm.StoreMem(asm.RFP, tupleAt+4, asm.R8, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, packetAt+20, asm.Word),
		asm.StoreMem(asm.RFP, tupleAt+8, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, packetAt+9, asm.Byte),
		asm.StoreMem(asm.RFP, tupleAt+12, asm.R1, asm.Word),
		// Insert, or compare.
		asm.LoadMapPtr(asm.R1, w.seen.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, tupleAt),
		asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, "compare"),
		asm.LoadMapPtr(asm.R1, w.seen.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, tupleAt),
		asm.LoadMem(asm.R4, asm.RFP, packetAt+28, asm.Word),
		asm.StoreMem(asm.RFP, indexAt-12, asm.R4, asm.Word),
		asm.LoadMem(asm.R4, asm.RFP, packetAt+32, asm.Word),
		asm.StoreMem(asm.RFP, indexAt-8, asm.R4, asm.Word),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, indexAt-12),
		asm.Mov.Imm(asm.R4, int32(ebpf.UpdateNoExist)),
		asm.FnMapUpdateElem.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R1, distinct),
		asm.Ja.Label("tell"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word).WithSymbol("compare"),
		asm.LoadMem(asm.R2, asm.RFP, packetAt+28, asm.Word),
		asm.JNE.Reg(asm.R1, asm.R2, "clash"),
		asm.LoadMem(asm.R1, asm.R0, 4, asm.Word),
		asm.LoadMem(asm.R2, asm.RFP, packetAt+32, asm.Word),
		asm.JEq.Reg(asm.R1, asm.R2, "drop"),
		asm.Mov.Imm(asm.R1, clashes).WithSymbol("clash"),
	}
	return append(code, w.add("tell")...)
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
