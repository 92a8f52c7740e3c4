// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// Feature is something of the kernel that the datapath uses.
type Feature struct {
	Name string `json:"name"`
	// Found is "yes", "no", or the error of asking.
	Found string `json:"found"`
	// Use says what for.
	Use string `json:"use"`
}

// Features asks the running kernel. The kernel answers root alone; for others each answer says so.
func Features() []Feature {
	found := found
	if os.Geteuid() != 0 {
		found = func(error) string { return "unknown without root" }
	}
	helper := func(fn asm.BuiltinFunc) error { return features.HaveProgramHelper(ebpf.SchedCLS, fn) }
	return []Feature{
		{"tcx", found(probeTCX()), "attaching by links (6.6); else clsact"},
		{"bpf_redirect_peer", found(helper(asm.FnRedirectPeer)), "into an endpoint in one step (5.10)"},
		{"bpf_redirect_neigh", found(helper(asm.FnRedirectNeigh)), "out of an uplink in one step (5.10)"},
		{"bpf_fib_lookup", found(helper(asm.FnFibLookup)), "the host's routes decide (4.18)"},
		{"bpf_ktime_get_coarse_ns", found(helper(asm.FnKtimeGetCoarseNs)), "the age of sessions (5.11)"},
		{"bpf_skc_lookup_tcp", found(helper(asm.FnSkcLookupTcp)), "never taking a host socket's port (5.2)"},
		{"queue map", found(features.HaveMapType(ebpf.Queue)), "collecting old sessions (4.20)"},
		{"instruction set v3", found(features.HaveV3ISA()), "compare-and-swap (5.12)"},
	}
}

func found(err error) string {
	switch {
	case err == nil:
		return "yes"
	case errors.Is(err, ebpf.ErrNotSupported):
		return "no"
	}
	return err.Error()
}
