// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// FuzzParse checks what holds for every input: no panic, and either a usable configuration or problems in order, each
// at a place in the file.
func FuzzParse(f *testing.F) {
	f.Add(DefaultYAML())
	for _, seed := range []string{
		"", "---\n---\n", "a: [{b: c}, 'd', \"e\\u0041\"]\n", "? [a]\n: b\n", "[a]: b\n", "{a, b: }\n", "networks: [~, 1, {}]\n",
		"networks:\n  - name: &a *a\n", "<<: *a\n", "a: |\n  b\n", "uplinks: !!x {}\n", "%YAML 1.2\n", "- - - a\n", "mtu: 0x10\n",
		"networks: [{name: a, subnets: ['fe80::1%eth0/64'], gateway: 1.2.3.4/x, mtu: -1, masquerade: yes, datapath: x,\n" +
			"  endpoints: [{namespace: '', interface: lo, host_interface: a, addresses: [1.2.3.4], mac: '0'}]}]\n",
		"networks: [{name: a, subnets: [fd00:15::/64, 10.0.0.0/8], gateway: [fd00:15::1, 10.0.0.1], datapath: kernel,\n" +
			"  endpoints: [{namespace: b, addresses: [10.0.0.2, fd00:15::2]}]}]\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("fuzz.yaml", data)
		if err == nil {
			if len(cfg.Networks) == 0 {
				t.Error("accepted without a network")
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 || cfg != nil {
			t.Fatalf("Parse = %v, %v, want only problems", cfg, err)
		}
		ordered := slices.IsSortedFunc(problems, func(a, b Problem) int {
			return slices.Compare([]int{a.Line, a.Column}, []int{b.Line, b.Column})
		})
		if strings.Count(err.Error(), "\n") != len(problems)-1 {
			t.Errorf("not one line for each problem:\n%v", err)
		}
		if !ordered || problems[0].Line < 1 || problems[0].Column < 1 {
			t.Errorf("problems out of order or of the file:\n%v", err)
		}
	})
}
