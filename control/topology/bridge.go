// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
	"flyover/loader"
)

// Bridge is a bridge device of a network: no STP, up, tagged as ours.
type Bridge struct {
	Name string
	// MTU in bytes. Set explicitly, so the device does not follow its smallest port.
	MTU int
	// MAC is fixed when the device is made; otherwise it would change as ports come and go.
	MAC MAC
	// Network whose bridge it is.
	Network string
	// Shard says that it only forwards: the host is on the network by another bridge, and hears nothing of this one.
	Shard bool
}

var _ reconcile.Resource = Bridge{}

// Kind returns "bridge".
func (Bridge) Kind() string { return "bridge" }

// ID is the device's name.
func (b Bridge) ID() string { return b.Name }

// Observe implements reconcile.Resource.
func (b Bridge) Observe(s *reconcile.Survey, owned bool) (reconcile.Observation, error) {
	_, l, err := deviceIn(s, "", b.Name)
	if err != nil || l == nil {
		return reconcile.Observation{}, cause("observe bridge "+b.Name, err)
	}
	if !tagged(l) && (!owned || !b.halfMade(l)) {
		return reconcile.Observation{Status: reconcile.Foreign, Detail: foreignLink(b.Name, l)}, nil
	}
	var c changes
	c.compare("type", l.Type(), "bridge")
	c.compare("mtu", l.Attrs().MTU, b.MTU)
	c.compare("mac", macOf(l.Attrs().HardwareAddr), b.MAC)
	c.note("not tagged", !tagged(l))
	c.note("down -> up", !isUp(l))
	c.note("stp on -> off", l.stp)
	if b.Shard && l.Type() == "bridge" {
		if err := b.compareSilence(&c, l); err != nil {
			return reconcile.Observation{}, fmt.Errorf("observe bridge %s: %w", b.Name, err)
		}
	}
	return c.observation(), nil
}

func (b Bridge) compareSilence(c *changes, l *link) error {
	deaf, err := loader.Deaf(l.Index)
	if err != nil {
		return err
	}
	c.note("heard by the host -> not heard", !deaf)
	c.note("ipv6 on -> off", l.speaks6())
	return nil
}

// halfMade says that a crash between making and tagging left the device: the untagged bridge has the very MAC that we give.
func (b Bridge) halfMade(l netlink.Link) bool {
	return l.Type() == "bridge" && l.Attrs().Alias == "" && macOf(l.Attrs().HardwareAddr) == b.MAC
}

// Apply implements reconcile.Resource.
func (b Bridge) Apply() error {
	l, err := findLink(host(), b.Name)
	if err != nil {
		return fmt.Errorf("create bridge %s: %w", b.Name, err)
	}
	if l != nil && !tagged(l) && !b.halfMade(l) {
		return fmt.Errorf("create bridge %s: %s", b.Name, foreignLink(b.Name, l))
	}
	if l != nil && l.Type() == "bridge" {
		return cause("update bridge "+b.Name, b.configure(l))
	}
	if l != nil {
		if err := unlessMissing(host().LinkDel(l)); err != nil {
			return fmt.Errorf("replace %s %s: %w", l.Type(), b.Name, err)
		}
	}
	return cause("create bridge "+b.Name, b.create())
}

func (b Bridge) create() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = b.Name, b.MTU, b.MAC.Hardware()
	if err := host().LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return err
	}
	return finish(host(), b.Name, b.configure)
}

func (b Bridge) configure(l netlink.Link) error {
	if err := tag(host(), l); err != nil {
		return err
	}
	if err := setMTU(host(), l, b.MTU); err != nil {
		return err
	}
	if err := setMAC(host(), l, b.MAC); err != nil {
		return err
	}
	if stp, err := hasSTP(l); err != nil || stp {
		if err := cause("set stp off", clearSTP(l)); err != nil {
			return err
		}
	}
	if b.Shard {
		if err := errors.Join(loader.Deafen(l.Attrs().Index), silence6(b.Name)); err != nil {
			return err
		}
	}
	return setUp(host(), l)
}

// Remove implements reconcile.Resource. A device of the same name that is not ours stays.
func (b Bridge) Remove() error {
	l, err := findLink(host(), b.Name)
	if err == nil && l != nil && (tagged(l) || b.halfMade(l)) {
		err = unlessMissing(host().LinkDel(l))
	}
	return cause("remove bridge "+b.Name, err)
}

func hasSTP(l netlink.Link) (bool, error) {
	state, err := linkInfo(l.Attrs().Index, nl.IFLA_INFO_DATA, nl.IFLA_BR_STP_STATE)
	return len(state) == 4 && nl.NativeEndian().Uint32(state) != 0, err
}

func clearSTP(l netlink.Link) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(l.Attrs().Index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(0))
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
