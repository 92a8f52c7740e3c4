// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"io/fs"

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
var static6 = []struct{ name, value string }{
	{"disable_ipv6", "0"}, {"accept_ra", "0"}, {"accept_dad", "0"}, {"addr_gen_mode", "0"},
}

// Kind returns "static6".
func (Static6) Kind() string { return "static6" }

// ID is the namespace if any and the device: "ns1 veth-ns1".
func (s Static6) ID() string { return inside(s.Namespace) + s.Device }

// Observe implements reconcile.Resource.
func (s Static6) Observe(*reconcile.Survey, bool) (reconcile.Observation, error) {
	var c changes
	err := s.each(func(setting *Sysctl, name string) error {
		have, err := setting.read()
		c.compare(name, have, setting.Value)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return reconcile.Observation{}, nil
	}
	return c.observation(), cause("observe static6 "+s.ID(), err)
}

// Apply implements reconcile.Resource.
func (s Static6) Apply() error {
	err := s.each(func(setting *Sysctl, _ string) error {
		if have, err := setting.read(); err != nil || have == setting.Value {
			return err
		}
		return setting.write(setting.Value)
	})
	return cause("create static6 "+s.ID(), err)
}

// Keeps implements reconcile.Keeper: the settings go with the device, which is ours.
func (Static6) Keeps() bool { return true }

// Remove implements reconcile.Resource.
func (Static6) Remove() error { return nil }

func (s Static6) each(do func(setting *Sysctl, name string) error) error {
	return onDevice(s.Namespace, s.Device, func(h handle, _ netlink.Link) error {
		return h.enter(func() error {
			for _, setting := range static6 {
				key := fmt.Sprintf("net/ipv6/conf/%s/%s", s.Device, setting.name)
				if err := do(&Sysctl{Key: key, Value: setting.value}, setting.name); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
