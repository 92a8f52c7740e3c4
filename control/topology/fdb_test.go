// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"testing"

	"github.com/vishvananda/netlink"

	"flyover/control/reconcile"
)

// TestFDBMoves has the endpoint's address behind another port.
func TestFDBMoves(t *testing.T) {
	sandbox(t)
	other := exampleVeth
	other.Host, other.Interface, other.MAC = "veth-x-br", "veth-x", MAC{2, 0, 0, 0, 0, 99}
	for _, r := range []reconcile.Resource{exampleNamespace, exampleBridge, exampleVeth, other} {
		must(t, r.Apply())
	}
	must(t, FDB{Device: other.Host, MAC: innerMAC}.Apply())
	wantStatus(t, exampleFDB, true, reconcile.Different)
	must(t, exampleFDB.Apply())
	wantStatus(t, exampleFDB, true, reconcile.Same)
}

// TestFDBWithoutBridge has a port that left its bridge.
func TestFDBWithoutBridge(t *testing.T) {
	sandbox(t)
	free := exampleVeth
	free.Bridge = ""
	for _, r := range []reconcile.Resource{exampleNamespace, free} {
		must(t, r.Apply())
		wantStatus(t, r, true, reconcile.Same)
	}
	wantStatus(t, exampleFDB, true, reconcile.Absent)
	must(t, exampleFDB.Remove())
	if exampleFDB.Apply() == nil {
		t.Error("an entry is made without a bridge")
	}
}

// TestNeighbourLearned has an entry that the kernel learned by itself, and one that it could not resolve.
func TestNeighbourLearned(t *testing.T) {
	sandbox(t)
	must(t, exampleBridge.Apply())
	for state, want := range map[int]reconcile.Status{
		netlink.NUD_STALE: reconcile.Different, netlink.NUD_REACHABLE: reconcile.Different, netlink.NUD_FAILED: reconcile.Absent,
	} {
		must(t, onDevice("", "br1", func(h handle, l netlink.Link) error {
			m := exampleNeighbour.message(l)
			m.State = state
			return h.NeighSet(m)
		}))
		wantStatus(t, exampleNeighbour, true, want)
	}
	must(t, exampleNeighbour.Apply())
	wantStatus(t, exampleNeighbour, true, reconcile.Same)
}
