// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

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

// Keys of what a survey holds: namespaces by name, "" being the host's, and tables of the host.
type (
	spaceKey string
	tableKey string
)

// hostTable returns one table of the host, read when it is first asked for.
func hostTable[T any](s *reconcile.Survey, name tableKey, read func(*reader) (T, error)) (T, error) {
	return reconcile.Once(s, name, func() (table T, err error) {
		r, err := reconcile.Once(s, tableKey("reader"), func() (*reader, error) {
			r, err := openReader()
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
	return reconcile.Once(s, spaceKey(name), func() (*space, error) {
		if name == "" {
			return hostTable(s, "space", func(r *reader) (*space, error) { return r.space() })
		}
		fd, err := openNamespace(name)
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		v, err := visitorOf(s)
		if err != nil {
			return nil, err
		}
		var seen *space
		err = v.visit(fd, func() error {
			r, err := openReader()
			if err != nil {
				return err
			}
			defer r.close()
			if seen, err = r.space(); err != nil {
				return err
			}
			seen.routes, err = r.routes()
			return err
		})
		return seen, cause("look at namespace "+name, err)
	})
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

// visitor is a thread that goes from namespace to namespace: entering takes microseconds, and a thread ten times as many.
type visitor struct {
	visits chan visit
}

type visit struct {
	namespace int // file descriptor
	look      func() error
	done      chan error
}

// visitorOf returns the survey's visitor, which ends with it.
func visitorOf(s *reconcile.Survey) (*visitor, error) {
	type key struct{}
	return reconcile.Once(s, key{}, func() (*visitor, error) {
		v := &visitor{visits: make(chan visit)}
		ready := make(chan error)
		go v.run(ready)
		if err := <-ready; err != nil {
			return nil, err
		}
		s.AtEnd(func() { close(v.visits) })
		return v, nil
	})
}

// visit has look run in the namespace.
func (v *visitor) visit(namespace int, look func() error) error {
	done := make(chan error)
	v.visits <- visit{namespace, look, done}
	return <-done
}

// run never unlocks its thread, so that the thread ends with it. It goes home nevertheless: the process's first thread is parked
// instead of ended, and /proc/self shows that thread.
func (v *visitor) run(ready chan<- error) {
	runtime.LockOSThread()
	const self = "/proc/thread-self/ns/net"
	home, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		ready <- &os.PathError{Op: "open", Path: self, Err: err}
		return
	}
	defer unix.Close(home)
	ready <- nil
	for next := range v.visits {
		if err := unix.Setns(next.namespace, unix.CLONE_NEWNET); err != nil {
			next.done <- fmt.Errorf("enter: %w", err)
			continue
		}
		next.done <- next.look()
	}
	_ = unix.Setns(home, unix.CLONE_NEWNET)
}
