// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// deafName is the kernel's name of the program that makes an interface deaf.
const deafName = "fo_deaf"

// dropAll is TC_ACT_SHOT.
const dropAll = 2

// Deafen has the host's stack receive nothing from the interface; what a bridge forwards between its ports is not touched. A clsact
// filter does it, with a program of two instructions: it needs no pin, and goes with the interface.
func Deafen(ifindex int) error {
	if err := addQdisc(ifindex); err != nil {
		return fmt.Errorf("deafen interface %d: %w", ifindex, err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: deafName, Type: ebpf.SchedCLS, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, dropAll), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("deafen interface %d: %w", ifindex, err)
	}
	defer prog.Close()
	if err := netlink.FilterReplace(deafFilter(ifindex, prog.FD())); err != nil {
		return fmt.Errorf("deafen interface %d: add filter: %w", ifindex, err)
	}
	return nil
}

// Deaf says whether Deafen has been called for the interface, and nobody has undone it.
func Deaf(ifindex int) (bool, error) {
	filters, err := netlink.FilterList(byIndex(ifindex), netlink.HANDLE_MIN_INGRESS)
	if gone(err) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("list filters: %w", err)
	}
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Name == deafName && b.Priority == clsactFirst && b.DirectAction {
			return true, nil
		}
	}
	return false, nil
}

func deafFilter(ifindex, fd int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifindex,
			Parent:    netlink.HANDLE_MIN_INGRESS,
			Handle:    clsactHandle,
			Priority:  clsactFirst,
			Protocol:  unix.ETH_P_ALL,
		},
		Fd:           fd,
		Name:         deafName,
		DirectAction: true,
	}
}
