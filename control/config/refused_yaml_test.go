// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

func TestRefusedYAML(t *testing.T) {
	checkRefused(t, []refusal{
		{"empty", "", "net.yaml:1:1: the configuration is empty; it needs at least \"networks:\" with one network"},
		{"only comments", "# nothing\n", "net.yaml:1:1: the configuration is empty; it needs at least \"networks:\" with one network"},
		{"only a separator", "---\n", "net.yaml:1:1: the configuration is empty; it needs at least \"networks:\" with one network"},
		{"open list", "networks: [\n", "net.yaml:1:11: YAML syntax: sequence end token ']' not found"},
		{"open quote", `networks:
  - name: "br1
`, "net.yaml:2:11: YAML syntax: could not find end character of double-quoted text"},
		{"tab as indent", "networks:\n\t- name: br1\n", "net.yaml:2:1: YAML syntax: found character '\t' that cannot start any token"},
		{"bad indent", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
   mtu: 1500
`, "net.yaml:5:4: YAML syntax: value is not allowed in this context"},
		{"two documents", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
---
uplinks: [eth0]
`, "net.yaml:5:1: a second YAML document starts here; a configuration is one document"},
		{"two documents, the second empty", `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
---
`, "net.yaml:5:1: a second YAML document starts here; a configuration is one document"},
		{"anchor and alias", `networks:
  - name: &n br1
    subnets: *n
`, "net.yaml:2:11: anchors (&) are not supported; write the value out where it is needed\nnet.yaml:3:14: aliases (*) are not supported; write the value out where it is needed"},
		{"merge key", `networks:
  - <<: {name: br1}
`, "net.yaml:2:5: merge keys (<<) are not supported; write the keys out where they are needed"},
		{"tag", "uplinks: !!seq [eth0]\n", "net.yaml:1:10: tags (!) are not supported; remove the tag"},
		{"directive", `%YAML 1.2
---
uplinks: []
`, "net.yaml:1:1: directives (%) are not supported; remove the line"},
		{"explicit key", `? networks
: []
`, "net.yaml:1:1: explicit keys (?) are not supported; write \"key: value\""},
		{"not UTF-8", "uplinks:\n  - \"\xff\"\n", "net.yaml:2:6: the text is not UTF-8: byte 0xff"},
		{"control character", "uplinks:\n  - é\x00\n", "net.yaml:2:6: control character U+0000 is not allowed in YAML"},
		{"nested flow", "uplinks: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n", "net.yaml:1:74: nested more than 64 levels deep"},
		{"nested dashes", `uplinks:
  - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - 
`, "net.yaml:2:131: nested more than 64 levels deep"},
		{"many keys", strings.Repeat("a: b\n", 65), "net.yaml:65:2: more than 64 keys in one mapping"},
		{"deep indent", strings.Repeat(" ", 1024) + "a: b\n", "net.yaml:1:1025: nested more than 64 levels deep"},
		{"not a mapping", "[a, b]\n", "net.yaml:1:1: the configuration must be a mapping of keys to values, not a list"},
		{"a scalar", "networks\n", "net.yaml:1:1: the configuration must be a mapping of keys to values, not a string"},
	})
}
