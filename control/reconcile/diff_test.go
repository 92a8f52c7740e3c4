// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func fakes(h *fakeHost, names ...string) []Resource {
	var resources []Resource
	for _, n := range names {
		name, value, _ := strings.Cut(n, "=")
		resources = append(resources, fake{host: h, name: name, value: value})
	}
	return resources
}

func TestDiff(t *testing.T) {
	tests := map[string]struct {
		want, owned []string
		observed    map[string]Observation
		plan        []string
	}{
		"nothing":           {},
		"create in order":   {want: []string{"b", "a"}, plan: []string{"create fake b", "create fake a"}},
		"same":              {want: []string{"a"}, observed: map[string]Observation{"fake a": {Status: Same}}},
		"same, other owned": {want: []string{"a=2"}, owned: []string{"a=1"}, observed: map[string]Observation{"fake a": {Status: Same}}},
		"update": {want: []string{"a"}, observed: map[string]Observation{"fake a": {Different, "mtu 1500 -> 9000"}},
			plan: []string{"update fake a: mtu 1500 -> 9000"}},
		"remove in reverse, before creating": {want: []string{"c"}, owned: []string{"a", "b"},
			observed: map[string]Observation{"fake a": {Status: Same}, "fake b": {Status: Different}},
			plan:     []string{"remove fake b", "remove fake a", "create fake c"}},
		"removed already":        {owned: []string{"a"}, observed: map[string]Observation{"fake a": {}}},
		"somebody else's by now": {owned: []string{"a"}, observed: map[string]Observation{"fake a": {Foreign, "x"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			plan, err := Diff(fakes(nil, test.want...), fakes(nil, test.owned...), test.observed)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Join(append(test.plan, ""), "\n")
			if diff := cmp.Diff(want, plan.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDiffReportsEveryForeignObject(t *testing.T) {
	observed := map[string]Observation{"fake a": {Foreign, "interface a exists"}, "fake c": {Status: Foreign}}
	plan, err := Diff(fakes(nil, "a", "b", "c"), nil, observed)
	var foreign ForeignError
	if !errors.As(err, &foreign) || len(foreign) != 2 || plan != nil {
		t.Fatalf("plan %v, error %v", plan, err)
	}
	if want := "interface a exists; fake c exists, not made by flyover"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestAdds(t *testing.T) {
	for want, plan := range map[bool][]Plan{
		true:  {nil, {{Action: Create}, {Action: Create}}},
		false: {{{Action: Create}, {Action: Update}}, {{Action: Remove}}},
	} {
		for _, p := range plan {
			if p.Adds() != want {
				t.Errorf("plan of %d steps: adds %v", len(p), !want)
			}
		}
	}
}

func TestDiffRefusesTwoOfOneName(t *testing.T) {
	_, err := Diff(fakes(nil, "a=1", "a=2"), nil, nil)
	if err == nil || err.Error() != "plan fake a: wanted twice" {
		t.Error(err)
	}
}

func TestDiffInherits(t *testing.T) {
	for _, status := range []Status{Absent, Same, Different} {
		want := &setting{fake: fake{name: "a"}}
		owned := &setting{fake: fake{name: "a"}, was: "7"}
		if _, err := Diff([]Resource{want}, []Resource{owned}, map[string]Observation{"fake a": {Status: status}}); err != nil {
			t.Fatal(err)
		}
		if want.was != "7" {
			t.Errorf("%v: remembers %q, want 7", status, want.was)
		}
	}
}

func TestObserve(t *testing.T) {
	h := newFakeHost()
	h.objects["a"] = "1"
	observed, err := Observe(fakes(h, "a=1", "b"), fakes(h, "a=2", "c"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Observation{"fake a": {Status: Same}, "fake b": {}, "fake c": {}}
	if diff := cmp.Diff(want, observed); diff != "" {
		t.Error(diff)
	}
}

func TestStrings(t *testing.T) {
	if s := Action(9).String(); s != "Action(9)" {
		t.Error(s)
	}
	if s := Status(-1).String(); s != "Status(-1)" {
		t.Error(s)
	}
}

// keepsake is a fake that was there before us.
type keepsake struct{ fake }

func (keepsake) Keeps() bool { return true }

func TestDiffKeeps(t *testing.T) {
	owned := []Resource{fake{name: "a"}, keepsake{fake{name: "b"}}}
	observed := map[string]Observation{"fake a": {Status: Same}, "fake b": {Status: Same}}
	plan, err := Diff(nil, owned, observed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("remove fake a\n", plan.String()); diff != "" {
		t.Error(diff)
	}
}

// guard is a fake whose removal waits.
type guard struct{ fake }

func (guard) Lingers() {}

func TestDiffRemovesGuardsLast(t *testing.T) {
	owned := []Resource{fake{name: "a"}, guard{fake{name: "old guard"}}, fake{name: "b"}}
	observed := map[string]Observation{"fake a": {Status: Same}, "fake old guard": {Status: Same}, "fake b": {Status: Same}}
	tests := map[string]struct {
		want []Resource
		plan string
	}{
		"something takes their place": {
			want: []Resource{fake{name: "new guard"}},
			plan: "remove fake b\nremove fake a\ncreate fake new guard\nremove fake old guard\n",
		},
		"nothing is wanted": {plan: "remove fake b\nremove fake old guard\nremove fake a\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			plan, err := Diff(test.want, owned, observed)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.plan, plan.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
