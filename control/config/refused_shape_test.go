// SPDX-License-Identifier: Apache-2.0

package config

import "testing"

func TestRefusedShape(t *testing.T) {
	checkRefused(t, []refusal{
		{"no networks", "uplinks: [eth0]\n", "net.yaml:1:1: the configuration has no networks; add \"networks:\""},
		{"empty networks", "networks: []\n", "net.yaml:1:11: networks is empty; list at least one network"},
		{"null networks", "networks:\n", "net.yaml:1:11: networks must be a list, not empty"},
		{"networks is a mapping", "networks: {name: br1}\n", "net.yaml:1:11: networks must be a list, not a mapping"},
		{"network is a string", "networks: [br1]\n", "net.yaml:1:12: network must be a mapping of keys to values, not a string"},
		{"required keys of a network", `networks:
  - {}
`, `net.yaml:2:5: network number 1 has no name; add "name:"
net.yaml:2:5: network number 1 has no subnets; add "subnets:"
net.yaml:2:5: network number 1 has no gateway; add "gateway:"`},
		{"required keys of a named network", `networks:
  - name: br1
`, "net.yaml:2:5: network br1 has no subnets; add \"subnets:\"\nnet.yaml:2:5: network br1 has no gateway; add \"gateway:\""},
		{"required keys of an endpoint", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {mac: '02:00:00:00:00:01'}
`, "net.yaml:6:9: endpoint number 1 has no namespace; add \"namespace:\"\nnet.yaml:6:9: endpoint number 1 has no addresses; add \"addresses:\""},
		{"unknown key with a near one", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gatway: 192.168.15.10
`, "net.yaml:2:5: network br1 has no gateway; add \"gateway:\"\nnet.yaml:4:5: unknown key \"gatway\" in network; did you mean \"gateway\"?"},
		{"unknown key with none near", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    colour: red
`, "net.yaml:5:5: unknown key \"colour\" in network; known keys: name, subnets, gateway, mtu, masquerade, isolation, nd-proxy, datapath, mapping, filtering, ports, limits, exempt, endpoints"},
		{"unknown key at the top", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
bridges: []
`, "net.yaml:5:1: unknown key \"bridges\" in the configuration; known keys: networks, sessions, uplinks"},
		{"unknown key of an endpoint", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1], host-interface: x}
`, "net.yaml:6:53: unknown key \"host-interface\" in endpoint; did you mean \"host_interface\"?"},
		{"duplicate key", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    mtu: 1500
    'mtu': 9000
`, "net.yaml:6:5: duplicate key \"mtu\" in network; it is already at line 5"},
		{"wrong types", `networks:
  - name: 1
    subnets: 192.168.15.0/24
    gateway: {}
    mtu: big
    masquerade: yes
    datapath: true
    endpoints: {}
`, `net.yaml:2:11: name must be a string, not an integer; put it in quotes
net.yaml:3:14: subnets must be a list, not a string
net.yaml:4:14: gateway must be a string, not a mapping
net.yaml:5:10: mtu must be an integer, not a string
net.yaml:6:17: masquerade must be true or false, not a string
net.yaml:7:15: datapath must be a string, not a boolean; put it in quotes
net.yaml:8:16: endpoints must be a list, not a mapping`},
		{"empty values", `networks:
  - name: 
    subnets: [192.168.15.0/24]
    gateway: ~
    mtu: 
    masquerade: 
    datapath: 
`, `net.yaml:2:10: name must be a string, not empty
net.yaml:4:14: gateway must be a string, not empty
net.yaml:5:9: mtu must be an integer, not empty
net.yaml:6:16: masquerade must be true or false, not empty
net.yaml:7:15: datapath must be a string, not empty`},
		{"wrong types of an endpoint", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: 7, interface: 1.5, host_interface: {}, addresses: [1], mac: []}
`, `net.yaml:6:21: namespace must be a string, not an integer; put it in quotes
net.yaml:6:35: interface must be a string, not a number; put it in quotes
net.yaml:6:56: host_interface must be a string, not a mapping
net.yaml:6:72: address must be a string, not an integer; put it in quotes
net.yaml:6:81: mac must be a string, not a list`},
		{"text block", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    datapath: |
      ebpf
`, "net.yaml:5:15: datapath must be a string, not a text block"},
		{"endpoint is a string", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints: [ns1]
`, "net.yaml:5:17: endpoint must be a mapping of keys to values, not a string"},
		{"uplinks is a string", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
uplinks: eth0
`, "net.yaml:5:10: uplinks must be a list, not a string"},
		{"uplink is a number", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
uplinks: [1]
`, "net.yaml:5:11: uplink must be a string, not an integer; put it in quotes"},
	})
}
