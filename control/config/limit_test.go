// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// manyNetworks is a file of networks with the given number of endpoints each; each network takes 5 lines and each
// endpoint one.
func manyNetworks(networks, endpoints int) []byte {
	var b strings.Builder
	b.WriteString("networks:\n")
	for n := range networks {
		subnet := fmt.Sprintf("%d.%d", 10+n/256, n%256)
		fmt.Fprintf(&b, "  - name: n%d\n    subnets: [%s.0.0/16]\n    gateway: %s.0.1\n    mtu: 1500\n", n, subnet, subnet)
		if endpoints == 0 {
			b.WriteString("    endpoints: []\n")
			continue
		}
		b.WriteString("    endpoints:\n")
		for e := range endpoints {
			fmt.Fprintf(&b, "      - {namespace: %x-%x, interface: eth0, host_interface: v%x-%x, addresses: [%s.%d.%d]}\n",
				n, e, n, e, subnet, 1+e/256, e%256)
		}
	}
	return []byte(b.String())
}

func TestLimits(t *testing.T) {
	const networkLines = 5
	tests := []struct {
		name                string
		networks, endpoints int
		want                string
	}{
		{"as many networks as allowed", MaxNetworks, 0, ""},
		{"one network too many", MaxNetworks + 1, 0, fmt.Sprintf(
			"many.yaml:%d:5: more than 1024 networks; the rest of the list is not checked", 2+MaxNetworks*networkLines)},
		{"as many endpoints as allowed, in one network", 1, MaxEndpoints, ""},
		{"one endpoint too many in one network", 1, MaxEndpoints + 1, fmt.Sprintf(
			"many.yaml:%d:9: more than 16384 endpoints in all; the rest is not checked", 2+networkLines+MaxEndpoints)},
		{"as many endpoints as allowed", MaxEndpoints / 512, 512, ""},
		{"endpoints of one network too many", MaxEndpoints/512 + 1, 512, fmt.Sprintf(
			"many.yaml:%d:9: more than 16384 endpoints in all; the rest is not checked",
			2+networkLines+MaxEndpoints/512*(networkLines+512))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("many.yaml", manyNetworks(tt.networks, tt.endpoints))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}
