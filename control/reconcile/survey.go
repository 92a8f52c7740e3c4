// SPDX-License-Identifier: Apache-2.0

package reconcile

// Survey is one look at the host that many observations share: what one of them has read, a whole table of the kernel at a time, the
// others find there. It describes the moment at which each part was read, so it serves one round and changes nothing.
type Survey struct {
	// Resources are what the survey is for. Who reads an object of one of them may read those of all.
	Resources []Resource

	seen map[any]any
	ends []func()
}

// NewSurvey has seen nothing yet. The caller ends it.
func NewSurvey(resources ...Resource) *Survey {
	return &Survey{Resources: resources, seen: map[any]any{}}
}

// End gives back what looking has opened.
func (s *Survey) End() {
	for _, end := range s.ends {
		end()
	}
	s.ends = nil
}

// AtEnd has end called when the survey is over.
func (s *Survey) AtEnd(end func()) { s.ends = append(s.ends, end) }

// Once returns what look found when it was first asked for key, its error included. Keys of different types never meet, so each
// user has a type of its own.
func Once[K comparable, T any](s *Survey, key K, look func() (T, error)) (T, error) {
	type found struct {
		what T
		err  error
	}
	if f, ok := s.seen[key].(found); ok {
		return f.what, f.err
	}
	what, err := look()
	s.seen[key] = found{what, err}
	return what, err
}
