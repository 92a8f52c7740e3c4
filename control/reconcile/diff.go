// SPDX-License-Identifier: Apache-2.0

package reconcile

import "fmt"

// Diff plans how the host becomes as wanted. Want is in dependency order, owned in that of the state file, and observed is by
// Name; a missing entry counts as Absent. A foreign object among the wanted ones is a ForeignError with all of them.
//
// Removals come first, in the reverse order of owned: what goes may hold the name or the address that something new takes, and
// nothing wanted depends on what is not wanted. They leave out what is gone already, has been replaced by somebody else's, or
// was there before us.
// Lingerers alone are removed last.
//
// Diff touches nothing but wanted Inheritors, which take over what the owned version remembers. When the plan has run, or is
// empty, exactly want is what is owned: the caller stores it. An update or a removal may take others along (a pair of interfaces that
// is made again loses its addresses), so observe again until the plan is empty, or Adds.
func Diff(want, owned []Resource, observed map[string]Observation) (Plan, error) {
	wanted, err := unique(want)
	if err != nil {
		return nil, err
	}
	if foreign := foreignAmong(want, observed); len(foreign) > 0 {
		return nil, foreign
	}
	previous := index(owned)
	plan, last := removals(owned, wanted, observed)
	for _, r := range want {
		name := Name(r)
		had := previous[name]
		if heir, ok := r.(Inheritor); ok && had != nil {
			heir.Inherit(had)
		}
		switch o := observed[name]; o.Status {
		case Absent:
			plan = append(plan, Op{Action: Create, Resource: r, Previous: had})
		case Different:
			plan = append(plan, Op{Action: Update, Resource: r, Previous: had, Detail: o.Detail})
		}
	}
	return append(plan, last...), nil
}

// unique indexes want, in which each name may appear once: two versions of one object would undo each other for ever.
func unique(want []Resource) (map[string]Resource, error) {
	byName := index(want)
	if len(byName) == len(want) {
		return byName, nil
	}
	seen := make(map[string]bool, len(want))
	for _, r := range want {
		if seen[Name(r)] {
			return nil, fmt.Errorf("plan %s: wanted twice", Name(r))
		}
		seen[Name(r)] = true
	}
	return byName, nil
}

func foreignAmong(want []Resource, observed map[string]Observation) ForeignError {
	var foreign ForeignError
	for _, r := range want {
		if name := Name(r); observed[name].Status == Foreign {
			foreign = append(foreign, ForeignObject{Name: name, Observation: observed[name]})
		}
	}
	return foreign
}

// removals splits what is owned and not wanted into what goes first and what lingers.
func removals(owned []Resource, wanted map[string]Resource, observed map[string]Observation) (first, last Plan) {
	for i := len(owned) - 1; i >= 0; i-- {
		r := owned[i]
		name := Name(r)
		status := observed[name].Status
		if wanted[name] != nil || status != Same && status != Different {
			continue
		}
		if k, ok := r.(Keeper); ok && k.Keeps() {
			continue
		}
		op := Op{Action: Remove, Resource: r, Previous: r}
		if _, lingers := r.(Lingerer); lingers && len(wanted) > 0 {
			last = append(last, op)
		} else {
			first = append(first, op)
		}
	}
	return first, last
}
