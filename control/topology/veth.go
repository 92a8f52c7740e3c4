// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"

	"flyover/control/reconcile"
)

// Veth is a pair of interfaces: one end on the host, the other in a namespace.
type Veth struct {
	// Host is the name of the host's end, which is tagged as ours.
	Host string
	// Namespace and Interface name the inner end.
	Namespace, Interface string
	// MAC of the inner end.
	MAC MAC
	// HostMAC is that of the host's end. Zero: the kernel chooses.
	HostMAC MAC
	// MTU of both ends in bytes.
	MTU int
	// Bridge that the host's end is a port of. Empty: of none.
	Bridge string
	// Learning lets the bridge learn who is behind the port, if it is one. Static entries stay where they are, see FDB.
	Learning bool
	// NoFlood keeps frames to addresses that the bridge does not know from the port.
	NoFlood bool
}

var _ reconcile.Resource = Veth{}

// Kind returns "veth".
func (Veth) Kind() string { return "veth" }

// ID is the name of the host's end.
func (v Veth) ID() string { return v.Host }

// pair is what the host has of a Veth. Outer is nil when there is nothing, inner when the other end is not where it belongs; inside
// has no handle when there is no namespace.
type pair struct {
	outside, inside handle
	outer, inner    netlink.Link
}

// Observe implements reconcile.Resource.
func (v Veth) Observe(s *reconcile.Survey, owned bool) (reconcile.Observation, error) {
	_, outer, err := deviceIn(s, "", v.Host)
	if err != nil || outer == nil {
		return reconcile.Observation{}, cause("observe veth "+v.Host, err)
	}
	_, inner, err := deviceIn(s, v.Namespace, v.Interface)
	if err != nil {
		return reconcile.Observation{}, fmt.Errorf("observe veth %s: %w", v.Host, err)
	}
	p := pair{outer: outer}
	if inner != nil && paired(outer, inner) {
		p.inner = inner
	}
	switch {
	case !v.made(p, owned):
		return reconcile.Observation{Status: reconcile.Foreign, Detail: foreignLink(v.Host, outer)}, nil
	case p.inner == nil:
		detail := fmt.Sprintf("its other end is not %s in namespace %s", v.Interface, v.Namespace)
		return reconcile.Observation{Status: reconcile.Different, Detail: detail}, nil
	}
	return v.compare(s, outer, inner)
}

func (v Veth) compare(s *reconcile.Survey, outer, inner *link) (reconcile.Observation, error) {
	var c changes
	c.note("not tagged", !tagged(outer))
	c.compare("mtu", outer.MTU, v.MTU)
	c.compare("inner mtu", inner.MTU, v.MTU)
	c.compare("mac", macOf(inner.HardwareAddr), v.MAC)
	if !v.HostMAC.IsZero() {
		c.compare("host mac", macOf(outer.HardwareAddr), v.HostMAC)
	}
	c.note("down -> up", !isUp(outer))
	c.note("inner down -> up", !isUp(inner))
	err := v.port().compare(s, &c, outer)
	return c.observation(), err
}

// Apply implements reconcile.Resource. A pair whose inner end went elsewhere is made again, and takes along what depends on it.
func (v Veth) Apply() error {
	return v.withPair(func(p pair) error {
		if p.outer == nil {
			return cause("create veth "+v.Host, v.create(p))
		}
		if !v.made(p, true) {
			return fmt.Errorf("create veth %s: %s", v.Host, foreignLink(v.Host, p.outer))
		}
		if p.inner != nil {
			return cause("update veth "+v.Host, v.configure(p))
		}
		if err := unlessMissing(p.outside.LinkDel(p.outer)); err != nil {
			return fmt.Errorf("replace veth %s: %w", v.Host, err)
		}
		return cause("replace veth "+v.Host, v.create(p))
	})
}

// Remove implements reconcile.Resource. An interface of the same name that is not ours stays.
func (v Veth) Remove() error {
	outer, err := findLink(host(), v.Host)
	if err != nil || outer == nil { // the rule when many go: no need to enter the namespace
		return cause("remove veth "+v.Host, err)
	}
	err = v.withPair(func(p pair) error {
		if p.outer == nil || !v.made(p, true) {
			return nil
		}
		return unlessMissing(p.outside.LinkDel(p.outer))
	})
	return cause("remove veth "+v.Host, err)
}

// made says whether we made the pair: its host's end carries our tag, or it lacks only the tag because of a crash before tagging.
func (v Veth) made(p pair, owned bool) bool {
	if tagged(p.outer) {
		return true
	}
	return owned && p.outer.Attrs().Alias == "" && p.inner != nil && macOf(p.inner.Attrs().HardwareAddr) == v.MAC
}

// withPair calls do with what there is. A missing namespace is the same as a missing inner end: Remove must work without it.
func (v Veth) withPair(do func(pair) error) error {
	return here(func(outside handle) error { return v.withPairFrom(outside, do) })
}

func (v Veth) withPairFrom(outside handle, do func(pair) error) error {
	outer, err := findLink(outside, v.Host)
	if err != nil {
		return err
	}
	entered := false
	err = within(v.Namespace, func(h handle) error {
		entered = true
		p := pair{outside: outside, inside: h, outer: outer}
		if outer != nil {
			if p.inner, err = v.innerOf(h, outer); err != nil {
				return err
			}
		}
		return do(p)
	})
	if !entered && errors.Is(err, fs.ErrNotExist) {
		return do(pair{outside: outside, outer: outer})
	}
	return err
}

// innerOf finds the inner end, nil unless it and outer are each other's peer.
func (v Veth) innerOf(h handle, outer netlink.Link) (netlink.Link, error) {
	l, err := findLink(h, v.Interface)
	if err != nil || l == nil || !paired(outer, l) {
		return nil, err
	}
	return l, nil
}

func paired(a, b netlink.Link) bool {
	return a.Type() == "veth" && b.Type() == "veth" && a.Attrs().ParentIndex == b.Attrs().Index && b.Attrs().ParentIndex == a.Attrs().Index
}
