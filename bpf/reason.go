// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
)

// Class is what a reason means for the packet.
type Class string

// The classes of reasons, see enum reason in lib/reason.h.
const (
	Forward Class = "forward"
	Answer  Class = "answer"
	Pass    Class = "pass"
	Drop    Class = "drop"
)

// reasonNames are the names in enum reason, read from the object's type information: there is no second list to forget.
var reasonNames = sync.OnceValues(func() (map[DatapathReason]string, error) {
	spec, err := LoadDatapath()
	if err != nil {
		return nil, err
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("reason", &enum); err != nil {
		return nil, err
	}
	names := map[DatapathReason]string{}
	for _, v := range enum.Values {
		names[DatapathReason(v.Value)] = v.Name
	}
	return names, nil
})

// String returns the name in enum reason: "DROP_SOURCE_MAC".
func (r DatapathReason) String() string {
	names, err := reasonNames()
	if err != nil {
		return "unknown (" + err.Error() + ")"
	}
	return names[r]
}

// Class returns what the name begins with; empty for REASON_NONE and REASON_COUNT.
func (r DatapathReason) Class() Class {
	prefix, _, _ := strings.Cut(strings.ToLower(r.String()), "_")
	switch c := Class(prefix); c {
	case Forward, Answer, Pass, Drop:
		return c
	}
	return ""
}

// Reasons lists every reason that is counted.
func Reasons() []DatapathReason {
	var all []DatapathReason
	for r := DatapathReasonREASON_NONE + 1; r < DatapathReasonREASON_COUNT; r++ {
		all = append(all, r)
	}
	return all
}
