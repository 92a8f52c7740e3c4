// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"flyover/control/reconcile"
)

// TestRemoveManyVeths has among them one that is gone, one that a crash left untagged, and an interface of somebody else's.
func TestRemoveManyVeths(t *testing.T) {
	sandbox(t)
	must(t, exampleNamespace.Apply())
	before := snapshot(t)
	var veths []reconcile.Resource
	for i := range 2*groupSize + 3 {
		v := Veth{Host: fmt.Sprintf("v%d", i), Namespace: "ns1", Interface: fmt.Sprintf("i%d", i), MAC: MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, MTU: 1500}
		veths = append(veths, v)
		if i < 5 || i >= 2*groupSize {
			must(t, v.Apply())
		}
	}
	must(t, onDevice("", "v1", func(h handle, l netlink.Link) error { return h.LinkSetAlias(l, "") }))
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "v5"
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	must(t, errors.Join(Veth{}.RemoveAll(veths)...))
	must(t, onDevice("", "v5", func(h handle, l netlink.Link) error { return h.LinkDel(l) })) // it is still there
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
}

// TestRemoveGroup sees that the pairs went together.
func TestRemoveGroup(t *testing.T) {
	sandbox(t)
	other := exampleVeth
	other.Host, other.Interface, other.Bridge = "veth-x-br", "veth-x", ""
	free := exampleVeth
	free.Bridge = ""
	must(t, exampleNamespace.Apply())
	before := snapshot(t)
	must(t, free.Apply())
	must(t, other.Apply())
	must(t, removeGroup([]reconcile.Resource{free, other}))
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
}
