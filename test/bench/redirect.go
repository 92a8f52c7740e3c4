// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// protocolOffset is where struct __sk_buff (linux/bpf.h) has the EtherType, in network byte order.
const protocolOffset = 16

// attachRedirect puts before flyover's program one that looks nothing up and counts nothing: what is left of the distance to
// the direct pair then is the kernel's own, for running a program and for changing namespaces. The caller keeps
// the link, which it lasts as long as.
func attachRedirect() (link.Link, error) {
	from, err := net.InterfaceByName("veth-ns1-br")
	if err != nil {
		return nil, err
	}
	to, err := net.InterfaceByName("veth-ns2-br")
	if err != nil {
		return nil, err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS,
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, protocolOffset, asm.Word),
			asm.Mov.Imm(asm.R0, -1), // TCX_NEXT: flyover's
			asm.JNE.Imm(asm.R2, int32(htons(unix.ETH_P_IP)), "exit"),
			asm.Mov.Imm(asm.R1, int32(to.Index)),
			asm.Mov.Imm(asm.R2, 0),
			asm.FnRedirectPeer.Call(),
			asm.Return().WithSymbol("exit"),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("load redirect: %w", err)
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: from.Index, Program: prog, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
	if err != nil {
		return nil, fmt.Errorf("attach redirect: %w", err)
	}
	return l, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
