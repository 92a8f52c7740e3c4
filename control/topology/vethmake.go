// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"
)

// create makes the pair in one message: the inner end appears in its namespace under its final name, so no other name is ever
// taken on the host. One queue each: the default is one for each CPU, which costs memory and brings nothing without NAPI or XDP.
func (v Veth) create(p pair) error {
	if p.inside.Handle == nil {
		return fmt.Errorf("namespace %s: %w", v.Namespace, fs.ErrNotExist)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = v.Host, v.MTU, v.HostMAC.Hardware()
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	link := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         v.Interface,
		PeerHardwareAddr: v.MAC.Hardware(),
		PeerTxQLen:       -1, // the kernel's default
		PeerNumTxQueues:  1,
		PeerNumRxQueues:  1,
		PeerMTU:          uint32(v.MTU),
	}
	if p.inside.fd >= 0 {
		link.PeerNamespace = netlink.NsFd(p.inside.fd)
	}
	if err := p.outside.LinkAdd(link); err != nil {
		return err
	}
	return finish(p.outside, v.Host, func(outer netlink.Link) error {
		inner, err := v.innerOf(p.inside, outer)
		if err == nil && inner == nil {
			err = fmt.Errorf("find interface %s: %w", v.Interface, fs.ErrNotExist)
		}
		if err != nil {
			return err
		}
		return v.configure(pair{outside: p.outside, inside: p.inside, outer: outer, inner: inner})
	})
}

func (v Veth) configure(p pair) error {
	if err := tag(p.outside, p.outer); err != nil {
		return err
	}
	if err := v.configureEnd(p.outside, p.outer, v.HostMAC); err != nil {
		return err
	}
	if err := v.port().enslave(p.outside, p.outer); err != nil {
		return err
	}
	if err := v.configureEnd(p.inside, p.inner, v.MAC); err != nil {
		return err
	}
	if err := setUp(p.inside, p.inner); err != nil {
		return err
	}
	return setUp(p.outside, p.outer)
}

func (v Veth) configureEnd(h handle, l netlink.Link, mac MAC) error {
	if err := setMTU(h, l, v.MTU); err != nil {
		return err
	}
	return setMAC(h, l, mac)
}
