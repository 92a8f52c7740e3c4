// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"

	"flyover/control/reconcile"
)

// space is what a survey sees of one network namespace.
type space struct {
	// links by each of their names.
	links map[string]*link
	// addresses by the index of their link.
	addresses map[int][]netip.Prefix
	// routes of the main table; not of the host's namespace, whose table may be huge: see routesOf.
	routes []route
}

// Keys of what a survey holds: namespaces by name, and tables of the host.
type (
	spaceKey string
	tableKey string
)

// hostTable returns one table of the host, read when it is first asked for.
func hostTable[T any](s *reconcile.Survey, name tableKey, read func(*reader) (T, error)) (T, error) {
	return reconcile.Once(s, name, func() (table T, err error) {
		r, err := reconcile.Once(s, tableKey("reader"), func() (*reader, error) {
			r, err := openReader(make([]byte, dumpBuffer))
			if err == nil {
				s.AtEnd(r.close)
			}
			return r, err
		})
		if err != nil {
			return table, err
		}
		return read(r)
	})
}

// spaceOf looks at the named namespace, or the host's when name is empty. The error is fs.ErrNotExist when there is none.
func spaceOf(s *reconcile.Survey, name string) (*space, error) {
	if name == "" {
		return hostTable(s, "space", (*reader).space)
	}
	type key struct{}
	ahead, _ := reconcile.Once(s, key{}, func() (map[string]*visit, error) { return visitAll(namespacesOf(s.Resources)), nil })
	v := ahead[name]
	if v == nil {
		v, _ = reconcile.Once(s, spaceKey(name), func() (*visit, error) { return visitAll([]string{name})[name], nil })
	}
	return v.seen, cause("look at namespace "+name, v.err)
}

// namespacesOf are the names of the namespaces among the resources, each once.
func namespacesOf(resources []reconcile.Resource) []string {
	var names []string
	for _, r := range resources {
		if n, ok := r.(Namespace); ok {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (r *reader) space() (*space, error) {
	links, err := r.links()
	if err != nil {
		return nil, err
	}
	addresses, err := r.addresses()
	return &space{links: links, addresses: addresses}, err
}

func routesOf(s *reconcile.Survey, namespace string) ([]route, error) {
	if namespace == "" {
		return hostTable(s, "routes", (*reader).routes)
	}
	seen, err := spaceOf(s, namespace)
	if err != nil {
		return nil, err
	}
	return seen.routes, nil
}

// deviceIn returns the namespace and the device in it; both are nil when either is missing.
func deviceIn(s *reconcile.Survey, namespace, device string) (*space, *link, error) {
	seen, err := spaceOf(s, namespace)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil || seen.links[device] == nil {
		return nil, nil, err
	}
	return seen, seen.links[device], nil
}

// LinkIndex returns the number of the host's interface, 0 if there is none of the name.
func LinkIndex(s *reconcile.Survey, name string) (uint32, error) {
	_, l, err := deviceIn(s, "", name)
	if err != nil || l == nil {
		return 0, err
	}
	return uint32(l.Index), nil
}
