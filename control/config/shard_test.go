// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The names and addresses are on running hosts, so a new version must make the same ones.
func TestShardIsStable(t *testing.T) {
	s := Network{Name: "br1"}.Shard(16)
	got := fmt.Sprint(s.Bridge, " ", s.Down, " ", s.Up, " ", s.MAC)
	if want := "br1+16 br1+16d br1+16u 02:64:59:42:d0:09"; got != want {
		t.Errorf("shard is %s, want %s", got, want)
	}
}

func TestNamesOfShardsAreKept(t *testing.T) {
	const network = `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
`
	checkRefused(t, []refusal{
		{"network", network + `  - name: br1+1
    subnets: [192.168.16.0/24]
    gateway: 192.168.16.10
`, "net.yaml:5:11: name br1+1 of network br1+1 is kept for a further bridge of network br1 at line 2, or what joins it; choose another"},
		{"network before", `networks:
  - name: br1+12u
    subnets: [192.168.16.0/24]
    gateway: 192.168.16.10
` + strings.TrimPrefix(network, "networks:\n"),
			"net.yaml:2:11: name br1+12u of network br1+12u is kept for a further bridge of network br1 at line 5, or what joins it; choose another"},
		{"uplink", "uplinks: [br1+2]\n" + network,
			"net.yaml:1:11: name br1+2 of uplink br1+2 is kept for a further bridge of network br1 at line 3, or what joins it; choose another"},
		{"endpoint", network + `    endpoints:
      - {namespace: ns1, host_interface: br1+3d, addresses: [192.168.15.1]}
`, "net.yaml:6:42: name br1+3d of endpoint ns1 is kept for a further bridge of network br1 at line 2, or what joins it; choose another"},
	})
	others := network + `    endpoints:
      - {namespace: ns1, host_interface: br2+3d, addresses: [192.168.15.1]}
      - {namespace: ns2, host_interface: br1+0, addresses: [192.168.15.2]}
      - {namespace: ns3, host_interface: br1+1x, addresses: [192.168.15.3]}
`
	if _, err := Parse("net.yaml", []byte(others)); err != nil {
		t.Errorf("names of nobody's shards are refused: %v", err)
	}
}

// A network with several bridges has a name that leaves room for theirs.
func TestNameOfShardedNetwork(t *testing.T) {
	for _, tt := range []struct {
		name      string
		endpoints int
		want      string
	}{
		{"elevenbytes", BridgeEndpoints + 1, ""},
		{"fifteenbytes-xy", BridgeEndpoints, ""},
		{"twelve-bytes", BridgeEndpoints + 1, "many.yaml:2:11: network twelve-bytes has more than 1000 endpoints and so several bridges, " +
			"whose names begin with its own; give it a name of at most 11 bytes"},
	} {
		yaml := strings.Replace(string(manyNetworks(1, tt.endpoints)), "name: n0", "name: "+tt.name, 1)
		if diff := cmp.Diff(tt.want, problem(yaml)); diff != "" {
			t.Errorf("%s, %d endpoints:\n%s", tt.name, tt.endpoints, diff)
		}
	}
}

func TestKernelHasOneBridge(t *testing.T) {
	for endpoints, want := range map[int]string{
		maxBridgePorts: "",
		maxBridgePorts + 1: "many.yaml:1030:9: network n0 has more than 1023 endpoints, the limit of a Linux bridge; " +
			"divide them between networks, or use \"datapath: ebpf\"",
	} {
		yaml := strings.Replace(string(manyNetworks(1, endpoints)), "mtu: 1500", "datapath: kernel", 1)
		if diff := cmp.Diff(want, problem(yaml)); diff != "" {
			t.Errorf("%d endpoints:\n%s", endpoints, diff)
		}
	}
}

// problem is why the file is refused, nothing if it is not.
func problem(yaml string) string {
	if _, err := Parse("many.yaml", []byte(yaml)); err != nil {
		return err.Error()
	}
	return ""
}
