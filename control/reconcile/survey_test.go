// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"testing"
)

type (
	nameKey  string
	otherKey string
)

func TestSurveyLooksOnce(t *testing.T) {
	s := NewSurvey()
	looks := 0
	look := func() (int, error) {
		looks++
		return looks, errInjected
	}
	for range 3 {
		if n, err := Once(s, nameKey("a"), look); n != 1 || !errors.Is(err, errInjected) {
			t.Errorf("a: %d, %v", n, err)
		}
	}
	if n, _ := Once(s, nameKey("b"), look); n != 2 {
		t.Errorf("b: %d", n)
	}
	if n, _ := Once(s, otherKey("a"), look); n != 3 {
		t.Errorf("a of another type: %d", n)
	}
}

func TestSurveyEnds(t *testing.T) {
	s := NewSurvey()
	ended := 0
	s.AtEnd(func() { ended++ })
	s.End()
	s.End()
	if ended != 1 {
		t.Errorf("ended %d times", ended)
	}
}
