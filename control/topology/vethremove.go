// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"math/rand/v2"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// groupSize is how many pairs go in one message. The kernel waits for all readers of its tables several times for each message, and
// lets nobody else change an interface meanwhile.
const groupSize = 256

var _ reconcile.Carrier = Veth{}

// RemoveAll implements reconcile.Carrier: the pairs become a group, by which the kernel deletes them together. What that does not
// work for is removed one by one.
func (Veth) RemoveAll(veths []reconcile.Resource) []error {
	errs := make([]error, 0, len(veths))
	for len(veths) > 0 {
		batch := veths[:min(groupSize, len(veths))]
		veths = veths[len(batch):]
		_ = removeGroup(batch) // an error shows again, with its interface, for those that are still there
		for _, v := range batch {
			errs = append(errs, v.Remove())
		}
	}
	return errs
}

// removeGroup deletes those of the pairs whose host's ends carry our tag.
func removeGroup(veths []reconcile.Resource) error {
	r, err := openReader(make([]byte, dumpBuffer))
	if err != nil {
		return err
	}
	defer r.close()
	links, err := r.links()
	if err != nil {
		return err
	}
	taken := map[uint32]bool{0: true} // the group of everything that has none
	for _, l := range links {
		taken[l.Group] = true
	}
	group := rand.Uint32()
	for taken[group] {
		group = rand.Uint32()
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, v := range veths {
		l := links[v.ID()]
		if l == nil || !tagged(l) {
			continue
		}
		if err := unlessMissing(h.LinkSetGroup(l, int(int32(group)))); err != nil {
			return err
		}
	}
	return deleteGroup(group)
}

func deleteGroup(group uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
