// SPDX-License-Identifier: Apache-2.0

package config

import "testing"

func TestRefusedNetwork(t *testing.T) {
	checkRefused(t, []refusal{
		{"subnet malformed", `networks:
  - name: br1
    subnets: [192.168.15.0]
    gateway: 192.168.15.10
`, "net.yaml:3:15: subnet \"192.168.15.0\" of network br1: not a subnet; write it like 192.168.15.0/24 or fd00:15::/64"},
		{"subnet with host bits", `networks:
  - name: br1
    subnets: [192.168.15.10/24]
    gateway: 192.168.15.10
`, "net.yaml:3:15: subnet \"192.168.15.10/24\" of network br1: host bits are set; write 192.168.15.0/24"},
		{"prefix too long", `networks:
  - name: br1
    subnets: [192.168.15.0/31]
    gateway: 192.168.15.10
`, "net.yaml:3:15: subnet \"192.168.15.0/31\" of network br1: the prefix length must be /8 to /30"},
		{"prefix too short", `networks:
  - name: br1
    subnets: [192.0.0.0/7]
    gateway: 192.168.15.10
`, "net.yaml:3:15: subnet \"192.0.0.0/7\" of network br1: the prefix length must be /8 to /30"},
		{"two subnets", `networks:
  - name: br1
    subnets: [192.168.15.0/24, 192.168.16.0/24]
    gateway: 192.168.15.10
`, "net.yaml:3:32: network br1 has more than one IPv4 subnet; keep one, or make a network for each"},
		{"no subnet", `networks:
  - name: br1
    subnets: []
    gateway: 192.168.15.10
`, "net.yaml:3:14: network br1 has no subnet; list one"},
		{"unspecified subnet", `networks:
  - name: br1
    subnets: [0.0.0.0/8]
    gateway: 0.0.0.1
`, "net.yaml:3:15: subnet \"0.0.0.0/8\" of network br1: it overlaps the unspecified range 0.0.0.0/8; use a unicast subnet such as 192.168.15.0/24"},
		{"loopback subnet", `networks:
  - name: br1
    subnets: [127.1.0.0/16]
    gateway: 127.1.0.1
`, "net.yaml:3:15: subnet \"127.1.0.0/16\" of network br1: it overlaps the loopback range 127.0.0.0/8; use a unicast subnet such as 192.168.15.0/24"},
		{"subnet around link-local", `networks:
  - name: br1
    subnets: [169.0.0.0/8]
    gateway: 169.0.0.1
`, "net.yaml:3:15: subnet \"169.0.0.0/8\" of network br1: it overlaps the link-local range 169.254.0.0/16; use a unicast subnet such as 192.168.15.0/24"},
		{"multicast subnet", `networks:
  - name: br1
    subnets: [239.1.0.0/16]
    gateway: 239.1.0.1
`, "net.yaml:3:15: subnet \"239.1.0.0/16\" of network br1: it overlaps the multicast range 224.0.0.0/4; use a unicast subnet such as 192.168.15.0/24"},
		{"reserved subnet", `networks:
  - name: br1
    subnets: [240.0.0.0/8]
    gateway: 240.0.0.1
`, "net.yaml:3:15: subnet \"240.0.0.0/8\" of network br1: it overlaps the reserved range 240.0.0.0/4; use a unicast subnet such as 192.168.15.0/24"},
		{"gateway malformed", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15
`, "net.yaml:4:14: gateway \"192.168.15\" of network br1: not an address; write it like 192.168.15.1 or fd00:15::1"},
		{"gateway with prefix length", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10/24
`, "net.yaml:4:14: gateway \"192.168.15.10/24\" of network br1: write 192.168.15.10 without the prefix length, which is the subnet's"},
		{"gateway outside", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.16.10
`, "net.yaml:4:14: gateway 192.168.16.10 of network br1 is outside the network's subnet 192.168.15.0/24"},
		{"gateway is the network address", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.0
`, "net.yaml:4:14: gateway 192.168.15.0 of network br1 is the network address of subnet 192.168.15.0/24; choose another address"},
		{"gateway is the broadcast address", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.255
`, "net.yaml:4:14: gateway 192.168.15.255 of network br1 is the broadcast address of subnet 192.168.15.0/24; choose another address"},
		{"MTU too small", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    mtu: 575
`, "net.yaml:5:10: mtu 575 is out of range; use 576 to 65535"},
		{"MTU too large", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    mtu: 65536
`, "net.yaml:5:10: mtu 65536 is out of range; use 576 to 65535"},
		{"MTU negative", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    mtu: -1
`, "net.yaml:5:10: mtu -1 is out of range; use 576 to 65535"},
		{"MTU that no integer holds", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    mtu: 99999999999999999999999999
`, "net.yaml:5:10: mtu must be an integer, not a string"},
		{"unknown datapath", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    datapath: xdp
`, "net.yaml:5:15: unknown datapath \"xdp\" of network br1; use \"ebpf\" or \"kernel\""},
		{"name too long", `networks:
  - name: br-with-16-bytes
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \"br-with-16-bytes\" cannot name a bridge: longer than 15 bytes"},
		{"name with a slash", `networks:
  - name: br/1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \"br/1\" cannot name a bridge: use visible ASCII characters without '/', ':', '%' and spaces"},
		{"name with a space", `networks:
  - name: br 1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \"br 1\" cannot name a bridge: use visible ASCII characters without '/', ':', '%' and spaces"},
		{"name with a colon", `networks:
  - name: 'br:1'
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \"br:1\" cannot name a bridge: use visible ASCII characters without '/', ':', '%' and spaces"},
		{"name with a percent sign", `networks:
  - name: br%d
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \"br%d\" cannot name a bridge: use visible ASCII characters without '/', ':', '%' and spaces"},
		{"name outside ASCII", `networks:
  - name: brücke
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \"brücke\" cannot name a bridge: use visible ASCII characters without '/', ':', '%' and spaces"},
		{"name empty", `networks:
  - name: ''
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \"\" cannot name a bridge: the name is empty"},
		{"name is a dot", `networks:
  - name: .
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \".\" cannot name a bridge: the name is reserved"},
		{"name is lo", `networks:
  - name: lo
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \"lo\" cannot name a bridge: the name is reserved"},
		{"name is all", `networks:
  - name: all
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \"all\" cannot name a bridge: the name is reserved"},
		{"name is default", `networks:
  - name: default
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`, "net.yaml:2:11: network name \"default\" cannot name a bridge: the name is reserved"},
		{"duplicate name", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
  - name: br1
    subnets: [10.0.0.0/8]
    gateway: 10.0.0.1
`, "net.yaml:5:11: network br1 is already at line 2; give each network its own name"},
		{"overlapping subnets", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
  - name: br2
    subnets: [192.168.0.0/16]
    gateway: 192.168.0.1
`, "net.yaml:6:15: subnet 192.168.0.0/16 of network br2 overlaps subnet 192.168.15.0/24 of network br1 at line 3; choose another subnet"},
		{"uplink is a bridge", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
uplinks: [br1]
`, "net.yaml:5:11: uplink br1 is already the name of network br1 at line 2; remove one"},
		{"uplink twice", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
uplinks: [eth0, eth0]
`, "net.yaml:5:17: uplink eth0 is already the name of uplink eth0 at line 5; remove one"},
		{"uplink malformed", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
uplinks: [eth0/1]
`, "net.yaml:5:11: uplink \"eth0/1\": use visible ASCII characters without '/', ':', '%' and spaces"},
	})
}
