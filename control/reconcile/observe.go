// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"slices"
)

// Observe looks at the host for every wanted and every owned resource and returns what it found by Name. All errors are joined.
//
// A wanted Preparer that is not owned and is there as wanted gets no Apply, so it is prepared here: it becomes ours now, and a
// later wish may change it.
func Observe(want, owned []Resource) (map[string]Observation, error) {
	observed := make(map[string]Observation, len(want))
	isOwned := index(owned)
	survey := NewSurvey(slices.Concat(want, owned)...)
	defer survey.End()
	var errs []error
	look := func(r Resource) {
		name := Name(r)
		if _, done := observed[name]; done {
			return
		}
		ours := isOwned[name] != nil
		o, err := r.Observe(survey, ours)
		if p, ok := r.(Preparer); ok && err == nil && o.Status == Same && !ours {
			err = p.Prepare()
		}
		observed[name] = o
		errs = append(errs, err)
	}
	for _, r := range want {
		look(r)
	}
	for _, r := range owned {
		look(r)
	}
	return observed, errors.Join(errs...)
}

func index(resources []Resource) map[string]Resource {
	byName := make(map[string]Resource, len(resources))
	for _, r := range resources {
		byName[Name(r)] = r
	}
	return byName
}
