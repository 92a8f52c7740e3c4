// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Our filters' place among those of others, by which they are found again: "fo" read as a number, and the first handle.
const (
	clsactPriority = 0x666f
	clsactHandle   = 1
)

// clsact attaches by cls_bpf filters with direct action under the interface's clsact qdisc. The kernel keeps filter and program
// without pins; replacing a filter of the same handle is one step.
type clsact struct{}

var _ attacher = clsact{}

func (clsact) attach(ifindex int, at Point, prog *ebpf.Program) error {
	qdisc := clsactQdisc(ifindex)
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact qdisc: %w", err)
	}
	return netlink.FilterReplace(clsactFilter(ifindex, at, prog.FD()))
}

func (clsact) attached(ifindex int, at Point) (ebpf.ProgramID, error) {
	filter, err := findFilter(ifindex, at)
	if err != nil {
		return 0, err
	}
	return ebpf.ProgramID(filter.Id), nil
}

func (clsact) detach(ifindex int, at Point) error {
	_, err := findFilter(ifindex, at)
	if errors.Is(err, ErrNotAttached) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := netlink.FilterDel(clsactFilter(ifindex, at, -1)); err != nil && !gone(err) {
		return err
	}
	return removeEmptyQdisc(ifindex)
}

// removeEmptyQdisc removes the clsact qdisc when no filter, ours or another's, is left under it.
func removeEmptyQdisc(ifindex int) error {
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(byIndex(ifindex), parent)
		if err != nil && !gone(err) {
			return fmt.Errorf("list filters: %w", err)
		}
		if len(filters) > 0 {
			return nil
		}
	}
	if err := netlink.QdiscDel(clsactQdisc(ifindex)); err != nil && !gone(err) {
		return fmt.Errorf("remove clsact qdisc: %w", err)
	}
	return nil
}

func findFilter(ifindex int, at Point) (*netlink.BpfFilter, error) {
	filters, err := netlink.FilterList(byIndex(ifindex), clsactParent(at))
	if gone(err) {
		return nil, ErrNotAttached
	}
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	for _, f := range filters {
		b, ok := f.(*netlink.BpfFilter)
		if ok && b.Name == kernelNames[at] && b.Priority == clsactPriority {
			return b, nil
		}
	}
	return nil, ErrNotAttached
}

func clsactFilter(ifindex int, at Point, fd int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifindex,
			Parent:    clsactParent(at),
			Handle:    clsactHandle,
			Priority:  clsactPriority,
			Protocol:  unix.ETH_P_ALL,
		},
		Fd:           fd,
		Name:         kernelNames[at],
		DirectAction: true,
	}
}

func clsactParent(at Point) uint32 {
	if at.egress() {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

func clsactQdisc(ifindex int) netlink.Qdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

// byIndex is a link of which only the number is known, which is all that filter calls look at.
func byIndex(ifindex int) netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}
}

// gone says that the interface, its qdisc or the filter is no longer there.
func gone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL)
}
