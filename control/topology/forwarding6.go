// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"flyover/control/reconcile"
)

const conf6 = "net/ipv6/conf/"

// HasIPv6 says that the kernel has IPv6.
func HasIPv6() bool { return exists(conf6 + "all") }

// ForcesForwarding6 says that the kernel can forward the IPv6 of single interfaces, with force_forwarding (Linux 6.17). The
// interfaces' own "forwarding" makes them routers in the eyes of others, and forwards nothing.
func ForcesForwarding6() bool { return exists(conf6 + "all/force_forwarding") }

func exists(key string) bool {
	_, err := os.Stat(filepath.Join(sysctlDir, key))
	return err == nil
}

// Listeners returns the interfaces of others that take addresses and routes from router advertisements, those among them that have
// been told to do so even if the host forwards.
func Listeners() ([]string, error) {
	links, err := dump(host().LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var names []string
	for _, l := range links {
		name := l.Attrs().Name
		accepts, err1 := conf6Of(name, "accept_ra").read()
		forwards, err2 := conf6Of(name, "forwarding").read()
		if err := unlessMissing(errors.Join(err1, err2)); err != nil { // an interface without IPv6 has none
			return nil, fmt.Errorf("look for router advertisements: %w", err)
		}
		if !tagged(l) && name != "lo" && (accepts == "2" || accepts == "1" && forwards == "0") {
			names = append(names, name)
		}
	}
	return names, nil
}

func conf6Of(name, setting string) *Sysctl { return &Sysctl{Key: conf6 + name + "/" + setting} }

// Forwarding6 makes the host forward IPv6 between all its interfaces, for kernels that cannot do less. Setting it overwrites what
// each interface has.
type Forwarding6 struct {
	// Ours says that the host did not forward before.
	Ours bool
	// Routers are the interfaces that had forwarding on of their own, "default" among them.
	Routers []string
}

var (
	_ reconcile.Preparer  = (*Forwarding6)(nil)
	_ reconcile.Inheritor = (*Forwarding6)(nil)
	_ reconcile.Keeper    = (*Forwarding6)(nil)
)

// Kind returns "forwarding6".
func (*Forwarding6) Kind() string { return "forwarding6" }

// ID is "all".
func (*Forwarding6) ID() string { return "all" }

// Observe implements reconcile.Resource.
func (*Forwarding6) Observe(s *reconcile.Survey, owned bool) (reconcile.Observation, error) {
	return (&Sysctl{Key: conf6 + "all/forwarding", Value: "1"}).Observe(s, owned)
}

// Prepare implements reconcile.Preparer.
func (f *Forwarding6) Prepare() error {
	entries, err := os.ReadDir(filepath.Join(sysctlDir, conf6))
	if err != nil {
		return fmt.Errorf("observe forwarding6: %w", err)
	}
	f.Ours, f.Routers = false, nil
	for _, entry := range entries {
		value, err := conf6Of(entry.Name(), "forwarding").read()
		if err := unlessMissing(err); err != nil {
			return fmt.Errorf("observe forwarding6: %w", err)
		}
		switch {
		case entry.Name() == "all":
			f.Ours = value == "0"
		case value == "1":
			f.Routers = append(f.Routers, entry.Name())
		}
	}
	return nil
}

// Inherit implements reconcile.Inheritor.
func (f *Forwarding6) Inherit(owned reconcile.Resource) {
	if was, ok := owned.(*Forwarding6); ok {
		*f = *was
	}
}

// Apply implements reconcile.Resource.
func (*Forwarding6) Apply() error {
	return cause("create forwarding6", conf6Of("all", "forwarding").write("1"))
}

// Keeps implements reconcile.Keeper.
func (f *Forwarding6) Keeps() bool { return !f.Ours }

// Remove implements reconcile.Resource.
func (f *Forwarding6) Remove() error {
	if f.Keeps() {
		return nil
	}
	if err := conf6Of("all", "forwarding").write("0"); err != nil {
		return cause("remove forwarding6", unlessMissing(err))
	}
	for _, name := range f.Routers {
		if err := unlessMissing(conf6Of(name, "forwarding").write("1")); err != nil {
			return fmt.Errorf("remove forwarding6: restore %s: %w", name, err)
		}
	}
	return nil
}
