// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const mapsDir = "/sys/fs/bpf/flyover/v4/maps"

// What bpftool shows of the maps after some traffic is for people: names, and addresses as bytes.
func TestTrafficMapDump(t *testing.T) {
	over(t, func(t *testing.T, v variant) {
		exchangeWithOutside(t, v)
		want := map[string][]string{
			"fo_endpoints":   {`"ifindex": 4`, `"addr4": [192,168,15,1]`, `"mac": ` + bytesOf(t, "ns1", "veth-ns1")},
			"fo_fdb":         {`"mac": ` + bytesOf(t, "ns2", "veth-ns2"), `"ifindex": `, `"endpoint": 1`},
			"fo_mappings4":   {`"inside": [192,168,15,1]`, `"outside": [203,0,113,2]`, `"sessions": 1`},
			"fo_neighbours4": {`"addr": [192,168,15,10]`, `"mac": ` + bytesOf(t, "", "br1")},
			"fo_networks":    {`"gateway4": [192,168,15,10]`, `"mask4": [255,255,255,0]`, `"flags": "NETWORK_MASQUERADE"`, `"mtu": 1500`},
			"fo_bitmaps4":    {`"outside": [203,0,113,2]`, `"taken": [`},
			"fo_reasons":     {`"reason": "FORWARD_OUTSIDE"`, `"from_endpoint": {`, `"packets": `, `"bytes": `},
			"fo_replies4":    {`"remote": [203,0,113,1]`, `"outside": [203,0,113,2]`, `"inside": [192,168,15,2]`, `"outside_port": `},
			"fo_sessions4": {`"inside": [192,168,15,1]`, `"remote": [203,0,113,1]`, `"outside": [203,0,113,2]`, `"state": "SESSION_ESTABLISHED"`,
				`"flags": "SESSION_MAPPED"`},
			"fo_subnets4": {`"prefix_len": 24`, `"addr": [192,168,15,0]`, `"network": 0`},
			"fo_traffic":  {`"sent": {`, `"received": {`, `"dropped": {`, `"packets": `},
			"fo_usage":    {`"sessions": `, `"mappings": `},
			"fo_uplinks":  {`"source4": [203,0,113,2]`, `"mtu": 1500`, `"port_first": `},
		}
		files, err := os.ReadDir(mapsDir)
		if err != nil || len(files) < len(want) {
			t.Errorf("%d maps in %s, want %d at least; error %v", len(files), mapsDir, len(want), err)
		}
		for _, file := range files {
			if strings.HasPrefix(file.Name(), "fo_expiry") {
				continue // a queue: nobody can look into one without taking from it
			}
			wanted, known := want[file.Name()]
			if !known && !strings.HasPrefix(file.Name(), "fo_") {
				t.Errorf("map %s has another prefix", file.Name())
			}
			text := joined(run(t, "", "bpftool", "map", "dump", "pinned", filepath.Join(mapsDir, file.Name())))
			for _, w := range wanted {
				if !strings.Contains(text, w) {
					t.Errorf("%s: no %s in the dump: %.2000s", file.Name(), w, text)
				}
			}
			checkFormatted(t, file.Name())
		}
	}, tcx, clsact)
}

var beforeBracket = regexp.MustCompile(`\s+]`)

// joined undoes bpftool's line break at the end of lists.
func joined(text string) string { return beforeBracket.ReplaceAllString(text, "]") }

func bytesOf(t *testing.T, ns, device string) string {
	t.Helper()
	var list []uint
	for _, b := range hardware(t, ns, device) {
		list = append(list, uint(b))
	}
	out, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// checkFormatted parses the JSON dump of a map and looks at every field that has a meaning for people.
func checkFormatted(t *testing.T, name string) {
	t.Helper()
	var entries []struct {
		Formatted any `json:"formatted"`
	}
	out := run(t, "", "bpftool", "-j", "map", "dump", "pinned", filepath.Join(mapsDir, name))
	if err := json.Unmarshal([]byte(out), &entries); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	for _, e := range entries {
		if e.Formatted == nil {
			t.Errorf("%s: an entry without named fields", name)
			return
		}
		checkFields(t, name, e.Formatted)
	}
}

// octets are the fields that are byte lists, by the length of the list.
var octets = map[string]int{
	"mac": len(net.HardwareAddr{5: 0}), "gateway_mac": 6,
	"addr": 4, "addr4": 4, "gateway4": 4, "subnet4": 4, "mask4": 4, "source4": 4,
	"addr6": 16, "gateway6": 16, "subnet6": 16, "mask6": 16, "source6": 16,
	"inside": 4, "outside": 4, "remote": 4, "next_hop": 4,
}

func checkFields(t *testing.T, name string, value any) {
	t.Helper()
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			checkFields(t, name, v)
		}
	case map[string]any:
		for field, v := range value {
			checkField(t, name, field, v)
			checkFields(t, name, v)
		}
	}
}

var reasonName = regexp.MustCompile(`^(REASON_NONE|(FORWARD|ANSWER|PASS|DROP)_[A-Z0-9_]+)$`)

func checkField(t *testing.T, name, field string, value any) {
	t.Helper()
	if want, ok := octets[field]; ok {
		if list, ok := value.([]any); !ok || len(list) != want {
			t.Errorf("%s: %s is %v, want %d bytes", name, field, value, want)
		}
	}
	text, isText := value.(string)
	switch field {
	case "reason":
		if !isText || !reasonName.MatchString(text) {
			t.Errorf("%s: %s is %v, want a name", name, field, value)
		}
	case "state":
		if !isText || !strings.HasPrefix(text, "SESSION_") {
			t.Errorf("%s: %s is %v, want a name", name, field, value)
		}
	}
}
