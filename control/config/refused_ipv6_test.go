// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"testing"
)

func TestRefusedIPv6(t *testing.T) {
	network := func(subnets, gateway string) string {
		return fmt.Sprintf("networks:\n  - name: br1\n    datapath: kernel\n    subnets: %s\n    gateway: %s\n", subnets, gateway)
	}
	endpoint := func(addresses string) string {
		return network("[192.168.15.0/24, 'fd00:15::/64']", "[192.168.15.10, 'fd00:15::10']") +
			"    endpoints:\n      - {namespace: ns1, addresses: " + addresses + "}\n"
	}
	const other = "  - name: br2\n    datapath: kernel\n    subnets: ['fd00:15:0:0:8000::/65']\n    gateway: 'fd00:15:0:0:8000::1'\n"
	checkRefused(t, []refusal{
		{"prefix too long", network("['fd00::/127']", "'fd00::1'"),
			`net.yaml:4:15: subnet "fd00::/127" of network br1: the prefix length must be /16 to /126`},
		{"prefix too short", network("['fd00::/8']", "'fd00::1'"),
			`net.yaml:4:15: subnet "fd00::/8" of network br1: the prefix length must be /16 to /126`},
		{"host bits", network("['fd00:15::1/64']", "'fd00:15::1'"),
			`net.yaml:4:15: subnet "fd00:15::1/64" of network br1: host bits are set; write fd00:15::/64`},
		{"zone of a subnet", network("['fd00:15::%br1/64']", "'fd00:15::1'"),
			`net.yaml:4:15: subnet "fd00:15::%br1/64" of network br1: not a subnet; write it like 192.168.15.0/24 or fd00:15::/64`},
		{"link-local", network("['fe80:1::/64']", "'fe80:1::1'"),
			`net.yaml:4:15: subnet "fe80:1::/64" of network br1: it overlaps the link-local range fe80::/10; use a unicast subnet such as fd00:15::/64`},
		{"multicast", network("['ff05::/64']", "'ff05::1'"),
			`net.yaml:4:15: subnet "ff05::/64" of network br1: it overlaps the multicast range ff00::/8; use a unicast subnet such as fd00:15::/64`},
		{"unspecified", network("['::/16']", "'::1:1'"),
			`net.yaml:4:15: subnet "::/16" of network br1: it overlaps the unspecified range ::/128; use a unicast subnet such as fd00:15::/64`},
		{"mapped", network("['::ffff:192.168.15.0/120']", "'::ffff:192.168.15.1'"),
			`net.yaml:4:15: subnet "::ffff:192.168.15.0/120" of network br1: it overlaps the IPv4-mapped range ::ffff:0.0.0.0/96; use a unicast subnet such as fd00:15::/64` + "\n" +
				`net.yaml:5:14: gateway "::ffff:192.168.15.1" of network br1: it is IPv4 in IPv6's notation; write 192.168.15.1`},
		{"proxy of a masqueraded network", network("['fd00:15::/64']", "'fd00:15::1'") + "    nd-proxy: true\n",
			`net.yaml:6:15: nd-proxy: true of network br1 is about addresses that the outside sees, and the network is masqueraded; ` +
				`remove it, or set "masquerade: false"`},
		{"proxy without IPv6", network("[192.168.15.0/24]", "192.168.15.1") + "    masquerade: false\n    nd-proxy: true\n",
			"net.yaml:7:15: nd-proxy: true of network br1 is about IPv6, which it does not have; remove it, or add an IPv6 subnet"},
		{"two subnets", network("['fd00:15::/64', 'fd00:16::/64']", "'fd00:15::1'"),
			"net.yaml:4:31: network br1 has more than one IPv6 subnet; keep one, or make a network for each"},
		{"overlap", network("['fd00:15::/64']", "'fd00:15::10'") + other,
			"net.yaml:8:15: subnet fd00:15:0:0:8000::/65 of network br2 overlaps subnet fd00:15::/64 of network br1 at line 4; choose another subnet"},
		{"MTU of IPv4", network("['fd00:15::/64']", "'fd00:15::10'") + "    mtu: 1279\n",
			"net.yaml:6:10: mtu 1279 of network br1 is less than the 1280 that IPv6 needs; raise it, or remove the IPv6 subnet"},

		{"gateway of the other family", network("['fd00:15::/64']", "192.168.15.10"),
			`net.yaml:5:14: gateway 192.168.15.10 of network br1 is IPv4, and the network has no IPv4 subnet; remove it, or add one to "subnets:"`},
		{"one gateway for two subnets", network("[192.168.15.0/24, 'fd00:15::/64']", "192.168.15.10"),
			"net.yaml:5:14: network br1 has no IPv6 gateway; add one in fd00:15::/64"},
		{"two gateways for one subnet", network("['fd00:15::/64']", "['fd00:15::10', 'fd00:15::11']"),
			"net.yaml:5:30: network br1 has more than one IPv6 gateway; keep one"},
		{"no gateway", network("[192.168.15.0/24, 'fd00:15::/64']", "[]"),
			"net.yaml:5:14: network br1 has no IPv4 gateway; add one in 192.168.15.0/24\n" +
				"net.yaml:5:14: network br1 has no IPv6 gateway; add one in fd00:15::/64"},
		{"gateway outside", network("['fd00:15::/64']", "'fd00:16::10'"),
			"net.yaml:5:14: gateway fd00:16::10 of network br1 is outside the network's subnet fd00:15::/64"},
		{"gateway is the anycast address", network("['fd00:15::/64']", "'fd00:15::'"),
			"net.yaml:5:14: gateway fd00:15:: of network br1 is the Subnet-Router anycast address of subnet fd00:15::/64; choose another address"},
		{"zone of a gateway", network("['fd00:15::/64']", "'fd00:15::10%br1'"),
			`net.yaml:5:14: gateway "fd00:15::10%br1" of network br1: write fd00:15::10 without the zone, which only link-local addresses have`},
		{"gateway is a number among others", network("[192.168.15.0/24, 'fd00:15::/64']", "[192.168.15.10, 5]"),
			"net.yaml:5:30: gateway must be a string, not an integer; put it in quotes"},

		{"endpoint without IPv6", endpoint("[192.168.15.1]"),
			"net.yaml:7:37: endpoint ns1 has no IPv6 address; add one in fd00:15::/64"},
		{"endpoint without IPv4", endpoint("['fd00:15::1']"),
			"net.yaml:7:37: endpoint ns1 has no IPv4 address; add one in 192.168.15.0/24"},
		{"endpoint with two of IPv6", endpoint("[192.168.15.1, 'fd00:15::1', 'fd00:15::2']"),
			"net.yaml:7:66: endpoint ns1 has more than one IPv6 address; keep one"},
		{"endpoint outside", endpoint("[192.168.15.1, 'fd00:16::1']"),
			"net.yaml:7:52: address fd00:16::1 of endpoint ns1 is outside the network's subnet fd00:15::/64"},
		{"endpoint has the gateway's", endpoint("[192.168.15.1, 'fd00:15::0010']"),
			"net.yaml:7:52: address fd00:15::10 of endpoint ns1 is the network's gateway; choose another address"},
		{"endpoint has the anycast address", endpoint("[192.168.15.1, 'fd00:15::0']"),
			"net.yaml:7:52: address fd00:15:: of endpoint ns1 is the Subnet-Router anycast address of subnet fd00:15::/64; choose another address"},
		{"prefix length", endpoint("[192.168.15.1, 'fd00:15::1/64']"),
			`net.yaml:7:52: address "fd00:15::1/64" of endpoint ns1: write fd00:15::1 without the prefix length, which is the subnet's`},
		{"another's address", endpoint("[192.168.15.1, 'fd00:15::1']") + "      - {namespace: ns2, addresses: [192.168.15.2, 'fd00:15:0::1']}\n",
			"net.yaml:8:52: address fd00:15::1 of endpoint ns2 is already the address of endpoint ns1 at line 7; choose another address"},

		{"exempt destination of no subnet", "networks:\n  - name: br1\n    subnets: [192.168.15.0/24]\n    gateway: 192.168.15.10\n    exempt: ['fd00::/8']\n",
			"net.yaml:5:14: exempt destination fd00::/8 of network br1 is IPv6, and the network has no IPv6 subnet; remove it"},
	})
}

func TestRefusedIPv4OfIPv6Network(t *testing.T) {
	const network = "networks:\n  - name: br1\n    datapath: kernel\n    subnets: ['fd00:15::/64']\n    gateway: 'fd00:15::10'\n"
	checkRefused(t, []refusal{
		{"endpoint of IPv4", network + "    endpoints:\n      - {namespace: ns1, addresses: [192.168.15.1]}\n",
			`net.yaml:7:38: address 192.168.15.1 of endpoint ns1 is IPv4, and the network has no IPv4 subnet; remove it, or add one to "subnets:"`},
	})
}
