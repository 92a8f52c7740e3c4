// SPDX-License-Identifier: Apache-2.0

// Package loader holds every file descriptor of the datapath: it loads the programs, pins them with their maps, attaches and
// replaces them, and gives typed access to the maps.
package loader

import (
	"fmt"

	"flyover/bpf"
)

// Point is one place of an interface where a program of the datapath runs. Its text is the program's name.
type Point string

// The points, named as their programs.
const (
	// FromEndpoint is the ingress of the host's end of an endpoint's veth pair.
	FromEndpoint Point = bpf.DatapathProgFromEndpoint
	// FromUplink is the ingress of an uplink.
	FromUplink Point = bpf.DatapathProgFromUplink
	// ToUplink is the egress of an uplink.
	ToUplink Point = bpf.DatapathProgToUplink
)

// Points lists every Point.
func Points() []Point { return []Point{FromEndpoint, FromUplink, ToUplink} }

// kernelNames are what the kernel calls the programs: at most 15 characters, one of them for the family, with the prefix that the maps
// have too.
var kernelNames = map[Point]string{
	FromEndpoint: "fo_from_endpt",
	FromUplink:   "fo_from_uplink",
	ToUplink:     "fo_to_uplink",
}

// hooks are the points in enum hook of lib/reason.h.
var hooks = map[Point]bpf.DatapathHook{
	FromEndpoint: bpf.DatapathHookHOOK_FROM_ENDPOINT,
	FromUplink:   bpf.DatapathHookHOOK_FROM_UPLINK,
	ToUplink:     bpf.DatapathHookHOOK_TO_UPLINK,
}

// first says that no program of others may come before: one that lets packets pass would let them past us.
func (p Point) first() bool { return p == ToUplink }

// egress says which side of the interface the point is on.
func (p Point) egress() bool { return p == ToUplink }

// Hook is a mechanism of the kernel that runs a program at a Point.
type Hook string

const (
	// TCX is the link-based hook of Linux 6.6 and later.
	TCX Hook = "tcx"
	// Clsact is the qdisc of that name with a cls_bpf filter, for older kernels.
	Clsact Hook = "clsact"
)

// ParseHook reads the name of a hook; "" and "auto" are the best that the kernel has.
func ParseHook(name string) (Hook, error) {
	switch name {
	case "", "auto":
		return BestHook()
	case string(TCX), string(Clsact):
		return Hook(name), nil
	}
	return "", fmt.Errorf("hook %q is unknown: give tcx, clsact or auto", name)
}
