// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// carrierTimeout is far more than the kernel takes, on a busy machine too.
const carrierTimeout = 10 * time.Second

// connectOutside makes the outside and the uplink to it. The outside has no default route, so it cannot answer anything
// that leaves the lab host with another source than UplinkAddress and UplinkAddress6.
func connectOutside() error {
	if err := resetSysctls(); err != nil {
		return err
	}
	outside, err := newOutside()
	if err != nil {
		return fmt.Errorf("make namespace %s: %w", OutsideNamespace, err)
	}
	defer outside.Close()
	if err := addUplink(outside); err != nil {
		return fmt.Errorf("add uplink %s: %w", Uplink, err)
	}
	if err := configureOutside(outside); err != nil {
		return fmt.Errorf("configure namespace %s: %w", OutsideNamespace, err)
	}
	if err := configureHost(); err != nil {
		return fmt.Errorf("configure uplink %s: %w", Uplink, err)
	}
	return nil
}

// newOutside makes the namespace and returns to the lab host's.
func newOutside() (netns.NsHandle, error) {
	runtime.LockOSThread()
	host, err := netns.Get()
	if err != nil {
		return netns.None(), err
	}
	defer host.Close()
	outside, err := netns.NewNamed(OutsideNamespace)
	if err != nil {
		return netns.None(), err
	}
	if err := resetSysctls(); err != nil {
		return netns.None(), err
	}
	if err := netns.Set(host); err != nil {
		return netns.None(), err
	}
	// On the ways out above the thread stays locked: its namespace is unsure and the lab will not come up.
	runtime.UnlockOSThread()
	return outside, nil
}

func addUplink(outside netns.NsHandle) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = Uplink
	return netlink.LinkAdd(&netlink.Veth{
		LinkAttrs:     attrs,
		PeerName:      OutsideInterface,
		PeerNamespace: netlink.NsFd(outside),
	})
}

func configureOutside(outside netns.NsHandle) error {
	handle, err := netlink.NewHandleAt(outside, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	return configureLinks(handle, OutsideInterface, present(OutsideAddress, OutsideAddress6))
}

func configureHost() error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	if err := configureLinks(handle, Uplink, present(UplinkAddress, UplinkAddress6)); err != nil {
		return err
	}
	for _, gateway := range present(OutsideAddress, OutsideAddress6) {
		if err := handle.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)}); err != nil {
			return err
		}
	}
	return waitRunning(handle, Uplink)
}

// present are those of an IPv4 and an IPv6 address that the kernel can have.
func present(ipv4, ipv6 string) []string {
	if !hasIPv6() {
		return []string{ipv4}
	}
	return []string{ipv4, ipv6}
}

// waitRunning waits for the kernel's worker that turns a carrier into the operational state, so that what looks at the uplink
// first does not find it down.
func waitRunning(handle *netlink.Handle, name string) error {
	for deadline := time.Now().Add(carrierTimeout); ; time.Sleep(time.Millisecond) {
		link, err := handle.LinkByName(name)
		if err != nil {
			return err
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no carrier after %v", carrierTimeout)
		}
	}
}

// configureLinks brings the loopback and one addressed interface up.
func configureLinks(handle *netlink.Handle, name string, addresses []string) error {
	loopback, err := handle.LinkByName("lo")
	if err != nil {
		return err
	}
	link, err := handle.LinkByName(name)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		if err := handle.AddrAdd(link, interfaceAddress(address)); err != nil {
			return err
		}
	}
	if err := handle.LinkSetUp(loopback); err != nil {
		return err
	}
	return handle.LinkSetUp(link)
}

// interfaceAddress does without IPv6's duplicate address detection, which takes a second.
func interfaceAddress(address string) *netlink.Addr {
	ip := net.ParseIP(address)
	if ipv4 := ip.To4(); ipv4 != nil {
		return &netlink.Addr{IPNet: &net.IPNet{IP: ipv4, Mask: net.CIDRMask(UplinkPrefixLen, 32)}}
	}
	return &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(UplinkPrefixLen6, 128)}, Flags: unix.IFA_F_NODAD}
}
