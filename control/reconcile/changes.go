// SPDX-License-Identifier: Apache-2.0

package reconcile

import "reflect"

// ObserveChanges is Observe for what differs between the two lists: what is in both, and the same, counts as the same on the host and
// is not looked at. It returns how many those are.
//
// Like Diff it lets wanted Inheritors take over what the owned version remembers.
func ObserveChanges(want, owned []Resource) (observed map[string]Observation, unseen int, err error) {
	previous := index(owned)
	same := map[string]bool{}
	var changed, before []Resource
	for _, r := range want {
		had := previous[Name(r)]
		if heir, ok := r.(Inheritor); ok && had != nil {
			heir.Inherit(had)
		}
		if had != nil && reflect.DeepEqual(r, had) {
			same[Name(r)] = true
		} else {
			changed = append(changed, r)
		}
	}
	for _, r := range owned {
		if !same[Name(r)] {
			before = append(before, r)
		}
	}
	if observed, err = Observe(changed, before); err != nil {
		return nil, 0, err
	}
	for name := range same {
		observed[name] = Observation{Status: Same}
	}
	return observed, len(same), nil
}
