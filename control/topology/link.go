// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// OwnerTag is the interface alias (IFALIAS) by which flyover knows the links that it made, even when its state file is lost.
const OwnerTag = "flyover"

// tagged says that the link carries our alias.
func tagged(l netlink.Link) bool { return strings.HasPrefix(l.Attrs().Alias, OwnerTag) }

// findLink returns the named link, nil when there is none.
func findLink(h handle, name string) (netlink.Link, error) {
	l, err := dump(func() (netlink.Link, error) { return h.LinkByName(name) })
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	return l, nil
}

// foreignLink describes a link that somebody else made.
func foreignLink(name string, l netlink.Link) string {
	if real := l.Attrs().Name; real != name {
		return fmt.Sprintf("interface %s exists (another name of %s), not made by flyover", name, real)
	}
	return fmt.Sprintf("interface %s exists (%s), not made by flyover", name, l.Type())
}

// tag marks the link as ours. The kernel ignores an alias in the creating message, so this is always a second step.
func tag(h handle, l netlink.Link) error {
	if tagged(l) {
		return nil
	}
	return cause("set alias", h.LinkSetAlias(l, OwnerTag))
}

// setUp brings the link up unless it is.
func setUp(h handle, l netlink.Link) error {
	if isUp(l) {
		return nil
	}
	return cause("set up "+l.Attrs().Name, h.LinkSetUp(l))
}

func isUp(l netlink.Link) bool { return l.Attrs().RawFlags&unix.IFF_UP != 0 }

// setMTU and setMAC change nothing that is as wanted: a needless message makes the kernel notify every listener.
func setMTU(h handle, l netlink.Link, mtu int) error {
	if l.Attrs().MTU == mtu {
		return nil
	}
	return cause(fmt.Sprintf("set mtu %d", mtu), h.LinkSetMTU(l, mtu))
}

func setMAC(h handle, l netlink.Link, mac MAC) error {
	if mac.IsZero() || macOf(l.Attrs().HardwareAddr) == mac {
		return nil
	}
	return cause("set mac "+mac.String(), h.LinkSetHardwareAddr(l, mac.Hardware()))
}

// finish configures a link that was just made, and deletes it again when that fails.
func finish(h handle, name string, configure func(netlink.Link) error) error {
	l, err := findLink(h, name)
	if err == nil && l == nil {
		err = fmt.Errorf("find interface %s: %w", name, unix.ENODEV)
	}
	if err == nil {
		err = configure(l)
	}
	if err == nil {
		return nil
	}
	return errors.Join(err, reconcile.NotUndone(cause("undo", deleteLink(h, name))))
}

// deleteLink is content when there is no link of the name.
func deleteLink(h handle, name string) error {
	l, err := findLink(h, name)
	if err != nil || l == nil {
		return err
	}
	return unlessMissing(h.LinkDel(l))
}

// linkInfo returns one attribute of the link's IFLA_LINKINFO block, nil when the kernel has none: the library parses neither
// the bridge's STP state nor a port's flags.
func linkInfo(index int, block, attribute uint16) ([]byte, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("get link %d: %w", index, err)
	}
	data := []byte(nil)
	if len(msgs) > 0 {
		data = msgs[0][unix.SizeofIfInfomsg:]
	}
	for _, typ := range []uint16{unix.IFLA_LINKINFO, block, attribute} {
		if data, err = attributeOf(data, typ); err != nil {
			return nil, fmt.Errorf("parse link %d: %w", index, err)
		}
	}
	return data, nil
}

func attributeOf(data []byte, typ uint16) ([]byte, error) {
	attrs, err := nl.ParseRouteAttr(data)
	if err != nil {
		return nil, err
	}
	for _, a := range attrs {
		if a.Attr.Type&nl.NLA_TYPE_MASK == typ {
			return a.Value, nil
		}
	}
	return nil, nil
}

// cause puts the step before an error and leaves success alone.
func cause(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}

// changes collects what differs, as "mtu 1500 -> 9000".
type changes []string

func (c *changes) compare(what string, have, want any) {
	if have != want {
		*c = append(*c, fmt.Sprintf("%s %v -> %v", what, have, want))
	}
}

func (c *changes) note(what string, differs bool) {
	if differs {
		*c = append(*c, what)
	}
}

func (c changes) observation() reconcile.Observation {
	if len(c) == 0 {
		return reconcile.Observation{Status: reconcile.Same}
	}
	return reconcile.Observation{Status: reconcile.Different, Detail: strings.Join(c, ", ")}
}
