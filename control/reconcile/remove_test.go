// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// carrier is an object of which many go together.
type carrier struct{ fake }

func (carrier) Kind() string { return "carrier" }

func (c carrier) RemoveAll(all []Resource) []error {
	c.host.calls = append(c.host.calls, "together")
	errs := make([]error, len(all))
	for i, r := range all {
		errs[i] = r.Remove()
	}
	return errs
}

func TestRemoveAll(t *testing.T) {
	for name, test := range map[string]struct {
		failAt      int
		calls, left []string
	}{
		"all":             {-1, []string{"together", "remove C", "remove A", "remove d", "remove b"}, nil},
		"a carrier fails": {0, []string{"together", "remove C", "remove A", "remove d", "remove b"}, []string{"C"}},
		"another fails":   {2, []string{"together", "remove C", "remove A", "remove d", "remove b"}, []string{"d"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHost()
			h.failAt = test.failAt
			var plan Plan
			for _, r := range []Resource{fake{host: h, name: "d"}, carrier{fake{host: h, name: "C"}}, fake{host: h, name: "b"},
				carrier{fake{host: h, name: "A"}}} {
				plan = append(plan, Op{Action: Remove, Resource: r})
			}
			done := 0
			left, err := RemoveAll(plan, func(Op) { done++ })
			if errors.Is(err, errInjected) != (len(test.left) > 0) {
				t.Error(err)
			}
			if diff := cmp.Diff(test.calls, h.calls); diff != "" {
				t.Error(diff)
			}
			var names []string
			for _, r := range left {
				names = append(names, r.ID())
			}
			if diff := cmp.Diff(test.left, names); diff != "" {
				t.Error(diff)
			}
			if done != len(plan)-len(test.left) {
				t.Errorf("done %d steps", done)
			}
		})
	}
}
