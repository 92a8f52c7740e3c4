// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// Address is an address with its prefix on one of our devices.
type Address struct {
	// Namespace of the device. Empty: the host's.
	Namespace string
	Device    string
	// Prefix is the address and the length of its subnet: 192.168.15.10/24.
	Prefix netip.Prefix
}

var _ reconcile.Resource = Address{}

// Kind returns "address".
func (Address) Kind() string { return "address" }

// ID is the namespace if any, the device and the prefix: "ns1 veth-ns1 192.168.15.1/24".
func (a Address) ID() string { return inside(a.Namespace) + a.Device + " " + a.Prefix.String() }

// inside starts the ID of an object in a namespace.
func inside(namespace string) string {
	if namespace == "" {
		return ""
	}
	return namespace + " "
}

// Observe implements reconcile.Resource. The device is ours, so no address on it is foreign.
func (a Address) Observe(s *reconcile.Survey, _ bool) (reconcile.Observation, error) {
	seen, l, err := deviceIn(s, a.Namespace, a.Device)
	if err != nil || l == nil {
		return reconcile.Observation{}, cause("observe address "+a.ID(), err)
	}
	var o reconcile.Observation
	for _, p := range seen.addresses[l.Index] {
		switch {
		case p == a.Prefix && o.Status == reconcile.Absent:
			o.Status = reconcile.Same
		case p != a.Prefix && p.Addr() == a.Prefix.Addr():
			o = reconcile.Observation{Status: reconcile.Different, Detail: p.String() + " -> " + a.Prefix.String()}
		}
	}
	return o, nil
}

// Apply implements reconcile.Resource. The right one comes before the wrong ones go: the last IPv4 address of a device takes every
// route of the device along. IPv6 has no such custom, and gives an address one prefix length at a time.
func (a Address) Apply() error {
	err := onDevice(a.Namespace, a.Device, func(h handle, l netlink.Link) error {
		have, others, err := a.list(h, l)
		if err != nil {
			return err
		}
		if a.Prefix.Addr().Is6() {
			if err := removeAddresses(h, l, others); err != nil {
				return err
			}
			others = nil
		}
		if !have {
			if err := h.AddrAdd(l, a.message()); err != nil {
				return err
			}
		}
		return removeAddresses(h, l, others)
	})
	return cause("create address "+a.ID(), err)
}

func removeAddresses(h handle, l netlink.Link, addrs []netlink.Addr) error {
	for _, addr := range addrs {
		if err := unlessMissing(h.AddrDel(l, &addr)); err != nil {
			return cause("remove "+addr.IPNet.String(), err)
		}
	}
	return nil
}

// Remove implements reconcile.Resource.
func (a Address) Remove() error {
	err := onDevice(a.Namespace, a.Device, func(h handle, l netlink.Link) error {
		return h.AddrDel(l, a.message())
	})
	return cause("remove address "+a.ID(), unlessMissing(err))
}

// list says whether the device has the address as wanted, and returns it with wrong prefixes.
func (a Address) list(h handle, l netlink.Link) (have bool, others []netlink.Addr, err error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(l, netlink.FAMILY_ALL) })
	for _, addr := range addrs {
		switch p := prefixOf(addr.IPNet); {
		case p == a.Prefix:
			have = true
		case p.Addr() == a.Prefix.Addr():
			others = append(others, addr)
		}
	}
	return have, others, err
}

// message is the address as netlink takes it; the library adds the broadcast address. IPv6 needs no duplicate detection, which
// would keep the address unusable for a second: the configuration gives each address once.
func (a Address) message() *netlink.Addr {
	m := &netlink.Addr{IPNet: netOf(a.Prefix)}
	if a.Prefix.Addr().Is6() {
		m.Flags = unix.IFA_F_NODAD
	}
	return m
}

// netOf keeps the host bits of the prefix.
func netOf(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf is the inverse of netOf, the zero Prefix for nil.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addrOf(n.IP), ones)
}

// addrOf returns the zero Addr for nil.
func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
