// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"flyover/control/reconcile"
)

// Static6 is an interface of ours whose IPv6 is what the configuration says: besides the configured addresses it has the link-local
// one that comes from its MAC. Otherwise whoever is on the network could give it others, and routes (router advertisements), or
// take its address away (duplicate address detection).
type Static6 struct {
	// Namespace of the device. Empty: the host's.
	Namespace string
	Device    string
}

var _ reconcile.Keeper = Static6{}

// static6 are the settings below net/ipv6/conf/DEVICE. The first is the host's choice for new interfaces.
var static6 = []struct {
	name  string
	value int
}{
	{"disable_ipv6", 0}, {"accept_ra", 0}, {"accept_dad", 0}, {"addr_gen_mode", 0},
}

// Kind returns "static6".
func (Static6) Kind() string { return "static6" }

// ID is the namespace if any and the device: "ns1 veth-ns1".
func (s Static6) ID() string { return inside(s.Namespace) + s.Device }

// Observe implements reconcile.Resource. It looks at what the kernel says of the interface together with all others: to open a file in
// a namespace's /proc/sys takes the longer the more namespaces have been there before.
func (s Static6) Observe(survey *reconcile.Survey, _ bool) (reconcile.Observation, error) {
	_, l, err := deviceIn(survey, s.Namespace, s.Device)
	if err != nil || l == nil || l.six == nil {
		return reconcile.Observation{}, cause("observe static6 "+s.ID(), err)
	}
	var c changes
	for _, setting := range static6 {
		c.compare(setting.name, l.six[setting.name], setting.value)
	}
	return c.observation(), nil
}

// Apply implements reconcile.Resource.
func (s Static6) Apply() error {
	err := onDevice(s.Namespace, s.Device, func(h handle, _ netlink.Link) error { return h.enter(s.set) })
	return cause("create static6 "+s.ID(), err)
}

// set writes the settings of the device in the calling thread's namespace, those that are others.
func (s Static6) set() error {
	dir, err := os.OpenRoot(filepath.Join(sysctlDir, "net/ipv6/conf", s.Device))
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, setting := range static6 {
		want := strconv.Itoa(setting.value)
		have, err := dir.ReadFile(setting.name)
		if err == nil && strings.TrimSpace(string(have)) != want {
			err = dir.WriteFile(setting.name, []byte(want), 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Keeps implements reconcile.Keeper: the settings go with the device, which is ours.
func (Static6) Keeps() bool { return true }

// Remove implements reconcile.Resource.
func (Static6) Remove() error { return nil }
