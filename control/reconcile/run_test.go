// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunUndoes(t *testing.T) {
	h := newFakeHost()
	h.objects = map[string]string{"old": "1", "changed": "1", "adopted": "0", "setting": "0"}
	before := h.state()
	h.failAt = 5
	one := func(name, value string) Resource { return fake{host: h, name: name, value: value} }
	plan := Plan{
		{Action: Remove, Resource: one("old", "1"), Previous: one("old", "1")},
		{Action: Create, Resource: one("new", "1")},
		{Action: Update, Resource: one("changed", "2"), Previous: one("changed", "1")},
		{Action: Update, Resource: &setting{fake: fake{host: h, name: "setting", value: "1"}}},
		{Action: Create, Resource: one("last", "1")},
		{Action: Create, Resource: one("failing", "1")},
	}
	var done []string
	err := Run(context.Background(), plan, func(op Op) { done = append(done, op.String()) })
	if !errors.Is(err, errInjected) {
		t.Errorf("run: %v", err)
	}
	if diff := cmp.Diff(before, h.state()); diff != "" {
		t.Error(diff)
	}
	undone := []string{"remove last", "restore setting=0", "apply changed=1", "remove new", "apply old=1"}
	if diff := cmp.Diff(undone, h.calls[6:]); diff != "" {
		t.Error(diff)
	}
	if len(done) != 5 {
		t.Errorf("done called for %q", done)
	}
}

func TestRunMendsFailedUpdate(t *testing.T) {
	h := newFakeHost()
	h.failAt = 0
	a, was := fake{host: h, name: "a", value: "2"}, fake{host: h, name: "a", value: "1"}
	err := Run(context.Background(), Plan{{Action: Update, Resource: a, Previous: was}}, nil)
	if !errors.Is(err, errInjected) || sorted(h.objects) != "[a=1]" {
		t.Errorf("%v, host %s", err, sorted(h.objects))
	}
}

func TestRunJoinsUndoErrors(t *testing.T) {
	h := newFakeHost()
	broken := fake{host: h, name: "broken", on: "missing"}
	plan := Plan{{Action: Remove, Resource: broken, Previous: broken}, {Action: Create, Resource: broken}}
	err := Run(context.Background(), plan, nil)
	if want := "apply broken: no missing\nundo remove fake broken: apply broken: no missing"; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestRunStopsWhenCancelled(t *testing.T) {
	h := newFakeHost()
	ctx, cancel := context.WithCancel(context.Background())
	plan, err := Diff(fakes(h, "a", "b"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = Run(ctx, plan, func(Op) { cancel() })
	if !errors.Is(err, context.Canceled) || len(h.objects) != 0 {
		t.Errorf("%v, host %s", err, sorted(h.objects))
	}
	if want := []string{"apply a=", "remove a"}; !cmp.Equal(want, h.calls) {
		t.Errorf("calls %q", h.calls)
	}
}

// TestRandomWalk goes through random sets of wanted objects. Each must be reached, with nothing left to do; before that, the
// same plan fails at every of its steps and must leave the host as it was.
func TestRandomWalk(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := walk{t: t, rand: rand.New(rand.NewPCG(seed, 1)), host: newFakeHost()}
			w.host.objects["setting"] = "0"
			start := w.host.state()
			for range 20 {
				w.step(w.randomWant())
			}
			w.step(nil)
			if diff := cmp.Diff(start, w.host.state()); diff != "" {
				t.Errorf("left behind: %s", diff)
			}
		})
	}
}

type walk struct {
	t     *testing.T
	rand  *rand.Rand
	host  *fakeHost
	owned []Resource
}

// wanted builds a fresh set each time: a failed run may have changed what a Preparer remembers.
type wanted func() []Resource

func (w *walk) randomWant() wanted {
	var names []string
	for i := range 6 {
		if w.rand.IntN(2) == 0 {
			names = append(names, fmt.Sprintf("%d=%d", i, w.rand.IntN(3)))
		}
	}
	on, value := w.rand.IntN(2) == 0, fmt.Sprint(w.rand.IntN(3))
	return func() []Resource {
		want := fakes(w.host, names...)
		if on {
			want = append(want, &setting{fake: fake{host: w.host, name: "setting", value: value}})
		}
		for i, r := range want[:len(want)/2] { // some are on others, so that the order matters
			child := fake{host: w.host, name: "on " + r.ID(), value: fmt.Sprint(i), on: r.ID()}
			want = append(want, child)
		}
		return want
	}
}

func (w *walk) step(make wanted) {
	w.t.Helper()
	if make == nil {
		make = func() []Resource { return nil }
	}
	before := w.host.state()
	for i := range w.plan(make()) {
		w.host.failAt = i
		err := Run(context.Background(), w.plan(make()), nil)
		w.host.failAt = -1
		if !errors.Is(err, errInjected) || strings.Contains(err.Error(), "undo") {
			w.t.Fatalf("failure at step %d: %v", i, err)
		}
		if diff := cmp.Diff(before, w.host.state()); diff != "" {
			w.t.Fatalf("after a failure at step %d: %s", i, diff)
		}
	}
	want := make()
	if err := Run(context.Background(), w.plan(want), nil); err != nil {
		w.t.Fatal(err)
	}
	w.owned = want
	if again := w.plan(make()); len(again) != 0 {
		w.t.Fatalf("second plan:\n%s", again)
	}
}

func (w *walk) plan(want []Resource) Plan {
	w.t.Helper()
	observed, err := Observe(want, w.owned)
	if err != nil {
		w.t.Fatal(err)
	}
	plan, err := Diff(want, w.owned, observed)
	if err != nil {
		w.t.Fatal(err)
	}
	return plan
}
