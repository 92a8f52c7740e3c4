// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"flyover/control/reconcile"
)

// Trunk is a pair of interfaces of the host that joins a further bridge of a network to the network's own.
type Trunk struct {
	// Down is the end at the network's own bridge. It gets what is known to be beyond, and no unknown address unless there are Stations.
	Down string
	// Up is the end at the further bridge. What that does not know goes there.
	Up string
	// Network is the network's own bridge, Shard the further one.
	Network, Shard string
	// MAC of the end at the network's own bridge is that bridge's. A bridge hands to the host what is for the MAC of one of its ports, and the
	// programs look at what is for the host by that one MAC.
	MAC MAC
	// Stations may be on either side, behind endpoints without source guard: both bridges learn who is beyond, and what the network's
	// own does not know goes to the further one, too.
	Stations bool
	// MTU of both ends in bytes.
	MTU int
}

var _ reconcile.Carrier = Trunk{}

// Kind returns "trunk".
func (Trunk) Kind() string { return "trunk" }

// ID is the name of the end at the network's own bridge.
func (t Trunk) ID() string { return t.Down }

// end is one of the two interfaces.
type end struct {
	name string
	port port
}

func (t Trunk) ends() [2]end {
	return [2]end{
		{t.Down, port{bridge: t.Network, flood: t.Stations, learning: t.Stations}},
		{t.Up, port{bridge: t.Shard, flood: true, learning: t.Stations}},
	}
}

// Observe implements reconcile.Resource. The pair is ours if one end is: a crash may have left the other without its tag.
func (t Trunk) Observe(s *reconcile.Survey, owned bool) (reconcile.Observation, error) {
	_, down, err := deviceIn(s, "", t.Down)
	if err != nil {
		return reconcile.Observation{}, cause("observe trunk "+t.ID(), err)
	}
	_, up, err := deviceIn(s, "", t.Up)
	if err != nil || down == nil && up == nil {
		return reconcile.Observation{}, cause("observe trunk "+t.ID(), err)
	}
	var c changes
	for i, l := range []*link{down, up} {
		if l == nil {
			continue
		}
		if !tagged(l) && !(owned && l.Alias == "" && down != nil && up != nil && paired(down, up)) {
			return reconcile.Observation{Status: reconcile.Foreign, Detail: foreignLink(t.ends()[i].name, l)}, nil
		}
	}
	if down == nil || up == nil || !paired(down, up) {
		c.note(fmt.Sprintf("%s and %s are no pair", t.Down, t.Up), true)
		return c.observation(), nil
	}
	c.compare(t.Down+" mac", macOf(down.Attrs().HardwareAddr), t.MAC)
	for i, l := range []*link{down, up} {
		if err := t.ends()[i].compare(s, &c, t, l); err != nil {
			return reconcile.Observation{}, cause("observe trunk "+t.ID(), err)
		}
	}
	return c.observation(), nil
}

func (e end) compare(s *reconcile.Survey, c *changes, t Trunk, l *link) error {
	c.note(e.name+" not tagged", !tagged(l))
	c.compare(e.name+" mtu", l.MTU, t.MTU)
	c.note(e.name+" down -> up", !isUp(l))
	return e.port.compare(s, c, l)
}

// Apply implements reconcile.Resource. Ends that are no pair are made anew.
func (t Trunk) Apply() error {
	return here(func(h handle) error {
		down, up, err := t.find(h)
		if err != nil {
			return cause("create trunk "+t.ID(), err)
		}
		isPair := isTrunk(down, up)
		for _, l := range []netlink.Link{down, up} {
			if l != nil && !tagged(l) && !(isPair && l.Attrs().Alias == "") {
				return fmt.Errorf("create trunk %s: %s", t.ID(), foreignLink(l.Attrs().Name, l))
			}
		}
		if isPair {
			return cause("update trunk "+t.ID(), t.configure(h, down, up))
		}
		if err := t.remove(h, down, up); err != nil {
			return cause("replace trunk "+t.ID(), err)
		}
		return cause("create trunk "+t.ID(), t.create(h))
	})
}

// isTrunk says that both ends are there, and are each other's.
func isTrunk(down, up netlink.Link) bool { return down != nil && up != nil && paired(down, up) }

func (t Trunk) find(h handle) (down, up netlink.Link, err error) {
	if down, err = findLink(h, t.Down); err != nil {
		return nil, nil, err
	}
	up, err = findLink(h, t.Up)
	return down, up, err
}

func (t Trunk) create(h handle) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.NumTxQueues, attrs.NumRxQueues = t.Down, t.MTU, 1, 1
	pair := &netlink.Veth{
		LinkAttrs: attrs, PeerName: t.Up, PeerTxQLen: -1, PeerNumTxQueues: 1, PeerNumRxQueues: 1, PeerMTU: uint32(t.MTU),
	}
	if err := h.LinkAdd(pair); err != nil {
		return err
	}
	return finish(h, t.Down, func(down netlink.Link) error {
		up, err := findLink(h, t.Up)
		if err == nil && up == nil {
			err = fmt.Errorf("interface %s is gone", t.Up)
		}
		if err != nil {
			return err
		}
		return t.configure(h, down, up)
	})
}

// configure sets the ends up last: until then nothing passes.
func (t Trunk) configure(h handle, down, up netlink.Link) error {
	links := []netlink.Link{down, up}
	if err := setMAC(h, down, t.MAC); err != nil {
		return err
	}
	for i, e := range t.ends() {
		if err := tag(h, links[i]); err != nil {
			return err
		}
		if err := setMTU(h, links[i], t.MTU); err != nil {
			return err
		}
		if err := e.port.enslave(h, links[i]); err != nil {
			return err
		}
	}
	for _, l := range links {
		if err := setUp(h, l); err != nil {
			return err
		}
	}
	return nil
}

// Remove implements reconcile.Resource. Interfaces of the same names that are not ours stay.
func (t Trunk) Remove() error {
	err := here(func(h handle) error {
		down, up, err := t.find(h)
		if err != nil {
			return err
		}
		return t.remove(h, down, up)
	})
	return cause("remove trunk "+t.ID(), err)
}

// remove deletes what is ours of the two: either takes the other along.
func (t Trunk) remove(h handle, down, up netlink.Link) error {
	ours := isTrunk(down, up) && (tagged(down) || tagged(up))
	for _, l := range []netlink.Link{down, up} {
		if l == nil || !ours && !tagged(l) {
			continue
		}
		if err := unlessMissing(h.LinkDel(l)); err != nil {
			return err
		}
	}
	return nil
}

// RemoveAll implements reconcile.Carrier: forwarding entries go with their port.
func (Trunk) RemoveAll(trunks []reconcile.Resource) []error {
	errs := make([]error, len(trunks))
	for i, t := range trunks {
		errs[i] = t.Remove()
	}
	return errs
}
