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
	clsactFirst    = 1
	clsactHandle   = 1
)

// clsactPriorityOf returns the priority of our filter at the point.
func clsactPriorityOf(at Point) uint16 {
	if at.first() {
		return clsactFirst
	}
	return clsactPriority
}

// clsact attaches by cls_bpf filters with direct action under the interface's clsact qdisc. The kernel keeps filter and program
// without pins; replacing a filter of the same handle is one step.
type clsact struct{}

var _ attacher = clsact{}

func (clsact) attach(ifindex int, at Point, prog *ebpf.Program) error {
	if err := addQdisc(ifindex); err != nil {
		return err
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
	return nil
}

// addQdisc makes sure of the clsact qdisc. An ingress qdisc has its place and no egress.
func addQdisc(ifindex int) error {
	err := netlink.QdiscAdd(clsactQdisc(ifindex))
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact qdisc: %w", err)
	}
	has, err := HasClsact(ifindex)
	if err == nil && !has {
		err = errors.New("an ingress qdisc is in the place of clsact: remove it with `tc qdisc del dev DEVICE ingress`")
	}
	return err
}

// HasClsact says whether the interface has a clsact qdisc, ours or another's.
func HasClsact(ifindex int) (bool, error) {
	qdiscs, err := netlink.QdiscList(byIndex(ifindex))
	if err != nil {
		return false, fmt.Errorf("list qdiscs: %w", err)
	}
	for _, q := range qdiscs {
		if q.Type() == "clsact" {
			return true, nil
		}
	}
	return false, nil
}

// RemoveEmptyClsact removes the clsact qdisc when no filter, ours or another's, is left under it.
func RemoveEmptyClsact(ifindex int) error {
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
		if ok && b.Name == kernelNames[at] && b.Priority == clsactPriorityOf(at) {
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
			Priority:  clsactPriorityOf(at),
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
