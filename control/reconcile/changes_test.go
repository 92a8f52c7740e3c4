// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Only what differs between the lists is looked at. Nothing of it is on this host, and somebody has removed the rest, too.
func TestObserveChanges(t *testing.T) {
	h := newFakeHost()
	kept := &setting{fake: fake{host: h, name: "kept", value: "1"}, was: "0"}
	wished := &setting{fake: fake{host: h, name: "kept", value: "1"}}
	want := append(fakes(h, "same=1", "changed=2", "new=1"), wished)
	owned := append(fakes(h, "same=1", "changed=1", "gone=1"), kept)
	observed, unseen, err := ObserveChanges(want, owned)
	if err != nil {
		t.Fatal(err)
	}
	if unseen != 2 {
		t.Errorf("%d are not looked at, want 2", unseen)
	}
	if diff := cmp.Diff(map[string]Observation{
		"fake same": {Status: Same}, "fake kept": {Status: Same}, "fake changed": {}, "fake new": {}, "fake gone": {},
	}, observed); diff != "" {
		t.Error(diff)
	}
	if wished.was != "0" {
		t.Errorf("the wanted setting remembers %q, want what the owned one does", wished.was)
	}
}
