// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// port is how an interface of the host is a port of a bridge, mostly without learning: who is behind a port is what the configuration
// says, and no packet can move it. Broadcasts and multicasts go out of every port. It has no IPv6 of its own.
type port struct {
	// bridge is the device's name. Empty: a port of none.
	bridge string
	// flood sends frames to addresses that the bridge does not know out of the port, too.
	flood bool
	// learning lets the bridge learn who is behind the port.
	learning bool
}

// port of the pair's outer end.
func (v Veth) port() port { return port{bridge: v.Bridge, flood: !v.NoFlood, learning: v.Learning} }

// missingBridge is the index of a bridge that is not there: no port has that.
const missingBridge = -1

func (p port) compare(s *reconcile.Survey, c *changes, l *link) error {
	master := 0
	if p.bridge != "" {
		index, err := LinkIndex(s, p.bridge)
		if err != nil {
			return err
		}
		if master = int(index); master == 0 {
			master = missingBridge
		}
	}
	c.note("bridge -> "+p.bridge, l.MasterIndex != master)
	if p.bridge == "" || l.MasterIndex != master {
		return nil
	}
	c.compare("learning", onOff(l.learning), onOff(p.learning))
	c.note("ipv6 on -> off", l.speaks6())
	c.compare("flooding", onOff(l.flood), onOff(p.flood))
	return nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// enslave makes the interface the port.
func (p port) enslave(h handle, l netlink.Link) error {
	master, err := p.masterIndex(h)
	if err != nil {
		return err
	}
	if master < 0 {
		return fmt.Errorf("bridge %s: %w", p.bridge, fs.ErrNotExist)
	}
	if l.Attrs().MasterIndex != master {
		if err := h.LinkSetMasterByIndex(l, master); err != nil {
			return fmt.Errorf("set bridge %q: %w", p.bridge, err)
		}
	}
	if master == 0 {
		return nil
	}
	if err := silence6(l.Attrs().Name); err != nil {
		return err
	}
	return cause("set learning and flooding", p.setFlags(l))
}

// setFlags sets both in one message, which the kernel tells every listener of.
func (p port) setFlags(l netlink.Link) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(l.Attrs().Index)
	req.AddData(msg)
	flags := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	flags.AddRtAttr(nl.IFLA_BRPORT_LEARNING, flag(p.learning))
	flags.AddRtAttr(nl.IFLA_BRPORT_UNICAST_FLOOD, flag(p.flood))
	req.AddData(flags)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// flag is a boolean attribute.
func flag(on bool) []byte {
	if on {
		return []byte{1}
	}
	return []byte{0}
}

// masterIndex of the wanted bridge, 0 for none.
func (p port) masterIndex(h handle) (int, error) {
	if p.bridge == "" {
		return 0, nil
	}
	l, err := findLink(h, p.bridge)
	if err != nil || l == nil {
		return missingBridge, err
	}
	return l.Attrs().Index, nil
}
