// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

func TestRefusedTranslation(t *testing.T) {
	network := func(lines ...string) string {
		return "networks:\n  - name: br1\n    subnets: [192.168.15.0/24]\n    gateway: 192.168.15.10\n    " + strings.Join(lines, "\n    ") + "\n"
	}
	checkRefused(t, []refusal{
		{"mapping unknown", network("mapping: symmetric"),
			`net.yaml:5:14: unknown mapping "symmetric" of network br1; use "endpoint-independent" or "endpoint-dependent"`},
		{"filtering unknown", network("filtering: none"),
			`net.yaml:5:16: unknown filtering "none" of network br1; use "address-dependent" or "endpoint-independent"`},
		{"filtering of tuples", network("mapping: endpoint-dependent", "filtering: address-dependent"),
			"net.yaml:6:16: filtering of network br1 has no meaning with mapping: endpoint-dependent, which lets in the flow's remote alone; remove it"},
		{"one port", network("ports: '2000'"),
			`net.yaml:5:12: ports "2000" of network br1: not a range of ports; write it like 1024-32767`},
		{"too high a port", network("ports: 2000-65536"),
			`net.yaml:5:12: ports "2000-65536" of network br1: not a range of ports; write it like 1024-32767`},
		{"ports of services", network("ports: 1000-2000"),
			`net.yaml:5:12: ports "1000-2000" of network br1: ports below 1024 are for services; begin at 1024 or above`},
		{"ports swapped", network("ports: 3000-2000"),
			`net.yaml:5:12: ports "3000-2000" of network br1: the first port is above the last; swap them`},
		{"limit negative", network("limits: {sessions: -1}"),
			"net.yaml:5:24: sessions -1 is out of range; use 0 to 4194304"},
		{"limit unknown", network("limits: {session: 1}"),
			`net.yaml:5:14: unknown key "session" in limits; did you mean "sessions"?`},
		{"limits no mapping", network("limits: 5"),
			"net.yaml:5:13: limits must be a mapping of keys to values, not an integer"},
		{"exempt malformed", network("exempt: [10.0.0.0, 10.0.0.1/8, 10.0.0.0/8, 10.0.0.0/8]"),
			`net.yaml:5:14: exempt destination "10.0.0.0" of network br1: not a prefix; write it like 10.0.0.0/8 or fd00::/8` + "\n" +
				`net.yaml:5:24: exempt destination "10.0.0.1/8" of network br1: host bits are set; write 10.0.0.0/8` + "\n" +
				"net.yaml:5:48: exempt destination 10.0.0.0/8 of network br1 is there twice; remove one"},
		{"no burst", network("limits: {burst: 0}"),
			"net.yaml:5:21: burst 0 lets no session begin; use 1 or more, or rate: 0 for no limit"},
		{"not masqueraded", network("masquerade: false", "mapping: endpoint-dependent", "limits: {broadcasts: 5, rate: 7}"),
			"net.yaml:6:14: mapping of network br1 has no meaning with masquerade: false; remove it\n" +
				"net.yaml:7:35: rate of network br1 has no meaning with masquerade: false; remove it"},
		{"broadcasts not ours", network("datapath: kernel", "limits: {broadcasts: 5}"),
			"net.yaml:6:13: limits of network br1 has no meaning with datapath: kernel; remove it"},
		{"broadcasts negative", network("limits: {broadcasts: -1}"),
			"net.yaml:5:26: broadcasts -1 is out of range; use 0 to 4194304"},
		{"broadcasts no number", network("limits: {broadcasts: many}"),
			"net.yaml:5:26: broadcasts must be an integer, not a string"},
		{"not ours", network("datapath: kernel", "ports: 2000-3000", "filtering: address-dependent"),
			"net.yaml:6:12: ports of network br1 has no meaning with datapath: kernel; remove it\n" +
				"net.yaml:7:16: filtering of network br1 has no meaning with datapath: kernel; remove it"},
		{"few sessions", "sessions: 1000\n" + network(),
			"net.yaml:1:11: sessions 1000 is out of range; use 1024 to 4194304"},
		{"two mappings, one range", network("mapping: endpoint-dependent", "ports: 2000-3000") + `  - name: br2
    subnets: [192.168.16.0/24]
    gateway: 192.168.16.10
    ports: 3000-4000
`, `net.yaml:7:5: network br2 and network br1 have different mappings and may have the same ports; give each "ports:" of its own`},
		{"two mappings, default range", network("mapping: endpoint-dependent") + `  - name: br2
    subnets: [192.168.16.0/24]
    gateway: 192.168.16.10
`, `net.yaml:6:5: network br2 and network br1 have different mappings and may have the same ports; give each "ports:" of its own`},
	})
}
