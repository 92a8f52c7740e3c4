// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"
	"testing"

	"flyover/test/lab"
	"flyover/test/packet"
)

// The lab: the default network, the host's uplink, and the outside's addresses. The second one is added by up.
const (
	addrNS1     = "192.168.15.1"
	addrNS2     = "192.168.15.2"
	addrGateway = "192.168.15.10"
	addrUplink  = lab.UplinkAddress
	addrOutside = lab.OutsideAddress
	addrSecond  = "203.0.113.3"
	outside     = lab.OutsideNamespace
)

// The same of IPv6.
const (
	addr6NS1     = "fd00:15::1"
	addr6NS2     = "fd00:15::2"
	addr6Gateway = "fd00:15::10"
	addr6Uplink  = lab.UplinkAddress6
	addr6Outside = lab.OutsideAddress6
	addr6Second  = "2001:db8:ffff::3"
)

// addresses are those of one family.
type addresses struct {
	ns1, ns2, gateway, uplink, outside, second string
	// Outside, such that no stack has them: whatever comes from there, the test has sent.
	peer, other, router string
	// Of routers that are no neighbours.
	far, private string
	// ofNetwork is one more of the network, with its prefix length.
	ofNetwork string
}

var (
	addr4 = addresses{
		ns1: addrNS1, ns2: addrNS2, gateway: addrGateway, uplink: addrUplink, outside: addrOutside, second: addrSecond,
		peer: "203.0.113.9", other: "203.0.113.10", router: "203.0.113.7", far: "198.51.100.7", private: "10.9.8.7",
		ofNetwork: "192.168.15.5/24",
	}
	addr6 = addresses{
		ns1: addr6NS1, ns2: addr6NS2, gateway: addr6Gateway, uplink: addr6Uplink, outside: addr6Outside, second: addr6Second,
		peer: "2001:db8:ffff::9", other: "2001:db8:ffff::a", router: "2001:db8:ffff::7", far: "2001:db8:7::7", private: "fd09:8::7",
		ofNetwork: "fd00:15::5/64",
	}
)

// six says if they are of IPv6.
func (a addresses) six() bool { return a == addr6 }

// remotes are three that differ from the first in the port, and in the address.
func (a addresses) remotes() []string {
	return []string{at(a.outside, 3478).String(), at(a.outside, 3479).String(), at(a.second, 3478).String()}
}

// of is an endpoint's, by its namespace.
func (a addresses) of(namespace string) string {
	if namespace == "ns2" {
		return a.ns2
	}
	return a.ns1
}

// inside is the network's subnet.
func (a addresses) inside() netip.Prefix {
	if a.six() {
		return inside6
	}
	return inside
}

// header is the length of the IP header, in octets.
func (a addresses) header() int {
	if a.six() {
		return 40
	}
	return 20
}

// flag is what tells ip(8) the family.
func (a addresses) flag() string {
	if a.six() {
		return "-6"
	}
	return "-4"
}

// table is what nft(8) calls the family.
func (a addresses) table() string {
	if a.six() {
		return "ip6"
	}
	return "ip"
}

// both makes a row of a check that asks the host for its addresses: it is for IPv4, and then for IPv6 in the same lab.
func both(check func(t *testing.T, h *host)) func(t *testing.T, h *host) {
	return func(t *testing.T, h *host) {
		h.six = true
		h.part("", func() { check(t, h) })
		h.part("", h.always)
		h.atOutside = nil // what IPv4 has sent is IPv4's
		if h.ebpf {
			h.run("", "flyover", "nat", "flush") // limits are an endpoint's, of both families together
		}
		h.addr = addr6
		h.part("", func() { check(t, h) })
	}
}

// eachFamily is both for a part of a row.
func (h *host) eachFamily(check func()) {
	defer func() { h.addr = addr4 }()
	for _, h.addr = range []addresses{addr4, addr6} {
		h.part(h.name, check)
	}
}

// oneHopOn takes a packet one hop on.
func oneHopOn(p *packet.Packet) {
	if p.IPv6 != nil {
		p.IPv6.HopLimit--
		return
	}
	p.IPv4.TTL--
}
