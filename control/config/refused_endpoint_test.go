// SPDX-License-Identifier: Apache-2.0

package config

import "testing"

func TestRefusedEndpoint(t *testing.T) {
	checkRefused(t, []refusal{
		{"source guard of the kernel", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    datapath: kernel
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], source-guard: true}
`, "net.yaml:7:67: source-guard of endpoint ns1: the datapath \"kernel\" has none; remove it, or set \"datapath: ebpf\""},
		{"source guard is no boolean", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], source-guard: open}
`, "net.yaml:6:67: source-guard must be true or false, not a string"},
		{"namespace with a slash", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: a/b, addresses: [192.168.15.1]}
`, "net.yaml:6:21: namespace \"a/b\": the name must not contain '/' or control characters"},
		{"namespace is dots", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: .., addresses: [192.168.15.1]}
`, "net.yaml:6:21: namespace \"..\": the name is reserved"},
		{"namespace with a dash in front", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: -n, addresses: [192.168.15.1]}
`, "net.yaml:6:21: namespace \"-n\": the name must not begin with '-'"},
		{"namespace empty", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: '', addresses: [192.168.15.1]}
`, "net.yaml:6:21: namespace \"\": the name is empty"},
		{"namespace too long", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn, addresses: [192.168.15.1]}
`, "net.yaml:6:21: namespace \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\"...: longer than 255 bytes"},
		{"namespace with a control character", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: "a\nb", addresses: [192.168.15.1]}
`, "net.yaml:6:21: namespace \"a\\nb\": the name must not contain '/' or control characters"},
		{"default interface too long", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: elevenbytes, addresses: [192.168.15.1]}
`, "net.yaml:6:21: default interface \"veth-elevenbytes\" of endpoint elevenbytes: longer than 15 bytes; set \"interface:\""},
		{"default host interface too long", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: database, addresses: [192.168.15.1]}
`, "net.yaml:6:21: default host_interface \"veth-database-br\" of endpoint database: longer than 15 bytes; set \"host_interface:\""},
		{"default interface with a space", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: a b, addresses: [192.168.15.1]}
`, "net.yaml:6:21: default interface \"veth-a b\" of endpoint \"a b\": use visible ASCII characters without '/', ':', '%' and spaces; set \"interface:\""},
		{"interface malformed", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], interface: lo}
`, "net.yaml:6:64: interface \"lo\" of endpoint ns1: the name is reserved"},
		{"host interface malformed", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], host_interface: a-name-of-16-byt}
`, "net.yaml:6:69: host_interface \"a-name-of-16-byt\" of endpoint ns1: longer than 15 bytes"},
		{"namespace twice", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1]}
      - {namespace: ns1, addresses: [192.168.15.2]}
`, "net.yaml:7:21: interface veth-ns1 of endpoint ns1 is already in that namespace, at line 6; set \"interface:\" to another name"},
		{"interface twice in a namespace", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], interface: eth0}
      - {namespace: ns1, interface: eth0, host_interface: h2, addresses: [192.168.15.2]}
`, "net.yaml:7:37: interface eth0 of endpoint ns1 is already in that namespace, at line 6; set \"interface:\" to another name"},
		{"default host interface twice", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], interface: eth0}
      - {namespace: ns2, interface: eth0, addresses: [192.168.15.2]}
`, "net.yaml:7:37: host interface eth0-br of endpoint ns2 is already the name of endpoint ns1 at line 6; set \"host_interface:\" to another name"},
		{"host interface is a bridge", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], host_interface: br1}
`, "net.yaml:6:69: host interface br1 of endpoint ns1 is already the name of network br1 at line 2; set \"host_interface:\" to another name"},
		{"address malformed", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.01]}
`, "net.yaml:6:38: address \"192.168.15.01\" of endpoint ns1: not an address; write it like 192.168.15.1 or fd00:15::1"},
		{"address with prefix length", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1/24]}
`, "net.yaml:6:38: address \"192.168.15.1/24\" of endpoint ns1: write 192.168.15.1 without the prefix length, which is the subnet's"},
		{"two addresses", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1, 192.168.15.2]}
`, "net.yaml:6:52: endpoint ns1 has more than one IPv4 address; keep one"},
		{"no address", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: []}
`, "net.yaml:6:37: endpoint ns1 has no IPv4 address; add one in 192.168.15.0/24"},
		{"address outside", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.16.1]}
`, "net.yaml:6:38: address 192.168.16.1 of endpoint ns1 is outside the network's subnet 192.168.15.0/24"},
		{"address is the gateway", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.10]}
`, "net.yaml:6:38: address 192.168.15.10 of endpoint ns1 is the network's gateway; choose another address"},
		{"address is the network address", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.0]}
`, "net.yaml:6:38: address 192.168.15.0 of endpoint ns1 is the network address of subnet 192.168.15.0/24; choose another address"},
		{"address is the broadcast address", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.255]}
`, "net.yaml:6:38: address 192.168.15.255 of endpoint ns1 is the broadcast address of subnet 192.168.15.0/24; choose another address"},
		{"address twice", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1]}
      - {namespace: ns2, addresses: [192.168.15.1]}
`, "net.yaml:7:38: address 192.168.15.1 of endpoint ns2 is already the address of endpoint ns1 at line 6; choose another address"},
		{"MAC malformed", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], mac: '02:00'}
`, "net.yaml:6:58: MAC address \"02:00\" of endpoint ns1: not six bytes; write it like 02:00:5e:10:00:01"},
		{"MAC of eight bytes", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], mac: '02:00:00:00:00:00:00:01'}
`, "net.yaml:6:58: MAC address \"02:00:00:00:00:00:00:01\" of endpoint ns1: not six bytes; write it like 02:00:5e:10:00:01"},
		{"MAC multicast", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], mac: '03:00:00:00:00:01'}
`, "net.yaml:6:58: MAC address \"03:00:00:00:00:01\" of endpoint ns1: it is a multicast address; make its first byte even"},
		{"MAC all zero", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], mac: '00:00:00:00:00:00'}
`, "net.yaml:6:58: MAC address \"00:00:00:00:00:00\" of endpoint ns1: it is all zero; write it like 02:00:5e:10:00:01"},
		{"MAC twice", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], mac: '02:00:00:00:00:01'}
      - {namespace: ns2, addresses: [192.168.15.2], mac: 02-00-00-00-00-01}
`, "net.yaml:7:58: MAC address 02:00:00:00:00:01 of endpoint ns2 is already that of endpoint ns1 at line 6; choose another"},
		{"MAC of the bridge", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], mac: '02:26:57:8a:32:80'}
`, "net.yaml:6:58: MAC address 02:26:57:8a:32:80 of endpoint ns1 is already that of network br1 at line 2; choose another"},
		{"MAC is another's default", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], mac: '02:24:e9:2b:a3:ab'}
      - {namespace: ns2, addresses: [192.168.15.2]}
`, "net.yaml:7:37: MAC address 02:24:e9:2b:a3:ab of endpoint ns2 is already that of endpoint ns1 at line 6; set \"mac:\""},
		{"host interface is an uplink", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], host_interface: eth0}
uplinks: [eth0]
`, "net.yaml:6:69: host interface eth0 of endpoint ns1 is already the name of uplink eth0 at line 7; set \"host_interface:\" to another name"},
		{"several, in the order of the file", `uplinks: [lo]
networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.16.10
    mtu: 1
    endpoints:
      - {namespace: ns1, addresses: [192.168.16.1], colour: red}
      - {addresses: [192.168.15.1/24], namespace: a/b}
`, `net.yaml:1:11: uplink "lo": the name is reserved
net.yaml:5:14: gateway 192.168.16.10 of network br1 is outside the network's subnet 192.168.15.0/24
net.yaml:6:10: mtu 1 is out of range; use 576 to 65535
net.yaml:8:38: address 192.168.16.1 of endpoint ns1 is outside the network's subnet 192.168.15.0/24
net.yaml:8:53: unknown key "colour" in endpoint; known keys: namespace, interface, host_interface, addresses, mac, source-guard
net.yaml:9:22: address "192.168.15.1/24" of endpoint a/b: write 192.168.15.1 without the prefix length, which is the subnet's
net.yaml:9:51: namespace "a/b": the name must not contain '/' or control characters`},
	})
}
