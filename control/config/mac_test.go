// SPDX-License-Identifier: Apache-2.0

package config

import "testing"

// The addresses are in neighbour tables of running hosts, so a new version must make the same ones.
func TestGatewayMACIsStable(t *testing.T) {
	for name, want := range map[string]string{"br1": "02:26:57:8a:32:80", "": "02:e3:b0:c4:42:98"} {
		if got := (Network{Name: name}).GatewayMAC().String(); got != want {
			t.Errorf("GatewayMAC of %q = %s, want %s", name, got, want)
		}
	}
}
