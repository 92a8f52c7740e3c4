// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

const (
	// Linux: IFNAMSIZ is 16 with the closing zero.
	maxInterfaceName = 15
	// Linux: NAME_MAX, for the file under /run/netns.
	maxNamespaceName = 255
	// RFC 791: every host takes datagrams of 576 bytes; the length field ends at 65535.
	minMTU, maxMTU = 576, 65535
	// RFC 8200 section 5; Linux has no IPv6 on an interface with less.
	minMTU6 = 1280
	// The session table, 232 bytes of kernel memory each by its structures.
	minSessions, maxSessions = 1024, 1 << 22
	// A token bucket counts thousandths in 32 bits.
	maxLimit = 1 << 22
	// Lower ports are for services; a source port of 1024 or above stays there (RFC 4787 REQ-3).
	minPort = 1024
	// A longer prefix leaves no room for a gateway and an endpoint besides network and broadcast address.
	minPrefix, maxPrefix = 8, 30
	// Nobody is given more than a /16. A longer prefix leaves no room beside the Subnet-Router anycast address.
	minPrefix6, maxPrefix6 = 16, 126
)

// reserved are the ranges that Linux does not route like ordinary unicast addresses.
var reserved = []struct {
	prefix netip.Prefix
	name   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

func parseSubnet(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, errors.New("not a subnet; write it like 192.168.15.0/24 or fd00:15::/64")
	}
	shortest, longest, example := minPrefix, maxPrefix, "192.168.15.0/24"
	if p.Addr().Is6() {
		shortest, longest, example = minPrefix6, maxPrefix6, "fd00:15::/64"
	}
	switch {
	case p.Bits() < shortest || p.Bits() > longest:
		return p, fmt.Errorf("the prefix length must be /%d to /%d", shortest, longest)
	case p != p.Masked():
		return p, fmt.Errorf("host bits are set; write %s", p.Masked())
	}
	for _, r := range reserved {
		if r.prefix.Overlaps(p) {
			return p, fmt.Errorf("it overlaps the %s range %s; use a unicast subnet such as %s", r.name, r.prefix, example)
		}
	}
	return p, nil
}

func parseAddress(s string) (netip.Addr, error) {
	if addr, length, found := strings.Cut(s, "/"); found && length != "" {
		if a, err := netip.ParseAddr(addr); err == nil {
			return a, fmt.Errorf("write %s without the prefix length, which is the subnet's", a)
		}
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, errors.New("not an address; write it like 192.168.15.1 or fd00:15::1")
	case a.Zone() != "":
		return a, fmt.Errorf("write %s without the zone, which only link-local addresses have", a.WithZone(""))
	case a.Is4In6():
		return a, fmt.Errorf("it is IPv4 in IPv6's notation; write %s", a.Unmap())
	}
	return a, nil
}

func broadcast(p netip.Prefix) netip.Addr {
	bytes := p.Addr().As4()
	hosts := uint32(1)<<(32-p.Bits()) - 1
	binary.BigEndian.PutUint32(bytes[:], binary.BigEndian.Uint32(bytes[:])|hosts)
	return netip.AddrFrom4(bytes)
}

func parseMAC(s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	switch {
	case err != nil || len(mac) != 6:
		return nil, errors.New("not six bytes; write it like 02:00:5e:10:00:01")
	case mac[0]&1 != 0:
		return nil, errors.New("it is a multicast address; make its first byte even")
	case binary.BigEndian.Uint16(mac) == 0 && binary.BigEndian.Uint32(mac[2:]) == 0:
		return nil, errors.New("it is all zero; write it like 02:00:5e:10:00:01")
	}
	return mac, nil
}

// checkInterfaceName follows the kernel's rules, narrowed to visible ASCII: the kernel takes the byte 0xa0, which is
// part of many UTF-8 letters, for a space. It also takes % for a template.
func checkInterfaceName(s string) error {
	switch {
	case s == "":
		return errors.New("the name is empty")
	case len(s) > maxInterfaceName:
		return fmt.Errorf("longer than %d bytes", maxInterfaceName)
	case s == "." || s == ".." || s == "lo" || s == "all" || s == "default":
		return errors.New("the name is reserved")
	case !isVisible(s) || strings.ContainsAny(s, "/:%"):
		return errors.New("use visible ASCII characters without '/', ':', '%' and spaces")
	}
	return nil
}

func checkNamespaceName(s string) error {
	switch {
	case s == "":
		return errors.New("the name is empty")
	case len(s) > maxNamespaceName:
		return fmt.Errorf("longer than %d bytes", maxNamespaceName)
	case s == "." || s == "..":
		return errors.New("the name is reserved")
	case s[0] == '-':
		return errors.New("the name must not begin with '-'")
	case strings.ContainsFunc(s, func(c rune) bool { return c == '/' || c < ' ' || c == 0x7f }):
		return errors.New("the name must not contain '/' or control characters")
	}
	return nil
}

func isVisible(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}
