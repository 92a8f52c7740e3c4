// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"flyover/test/lab/labtest"
)

const tutorial = `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1]}
      - {namespace: ns2, addresses: [192.168.15.2]}
`

// otherNetwork goes after tutorial.
const otherNetwork = `  - name: br2
    subnets: [192.168.16.0/24]
    gateway: 192.168.16.10
    endpoints:
      - {namespace: ns4, addresses: [192.168.16.4]}
`

// dualNetwork too.
const dualNetwork = `  - name: br3
    subnets: [192.168.17.0/24, fd00:17::/64]
    gateway: [192.168.17.10, fd00:17::10]
    datapath: kernel
    endpoints:
      - {namespace: ns5, addresses: [192.168.17.5, fd00:17::5]}
`

func kernelDatapath(network string) string {
	return strings.Replace(network, "    gateway:", "    datapath: kernel\n    gateway:", 1)
}

func TestDownLeavesHostAsBefore(t *testing.T) {
	for name, c := range map[string]struct{ config, hook, prepare string }{
		"tcx":             {tutorial, "tcx", ""},
		"clsact":          {tutorial, "clsact", ""},
		"kernel":          {kernelDatapath(tutorial), "", ""},
		"mixed":           {tutorial + kernelDatapath(otherNetwork), "", ""},
		"no bpffs":        {tutorial, "tcx", "umount /sys/fs/bpf"},
		"forwarding host": {tutorial, "", "echo 1 > /proc/sys/net/ipv4/ip_forward"},
		"dual stack":      {dualStack, "", ""},
		"IPv6":            {ipv6Only, "", ""},
		"IPv6 router":     {ipv6Only, "", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"},
		"IPv6 off":        {ipv6Only, "", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"},
	} {
		t.Run(name, func(t *testing.T) {
			labtest.Alone(t, func(t *testing.T) {
				t.Setenv("FLYOVER_HOOK", c.hook)
				sh(t, c.prepare)
				file := configFile(t, c.config)
				before := takeDump(t)
				flyover(t, "up", "-f", file)
				if cmp.Equal(before, takeDump(t)) {
					t.Fatal("up changed nothing that the dump shows")
				}
				noDrift(t)
				forwardsAs(t, c.config)
				programs := pinnedPrograms(t)
				flyover(t, "down")
				sameDump(t, "after down", before)
				until(t, "the programs to go", func() bool { return noneLoaded(programs) })
			})
		})
	}
}

func TestSecondUpChangesNothing(t *testing.T) {
	for _, hook := range []string{"tcx", "clsact"} {
		t.Run(hook, func(t *testing.T) {
			labtest.Alone(t, func(t *testing.T) {
				t.Setenv("FLYOVER_HOOK", hook)
				file := configFile(t, tutorial+kernelDatapath(otherNetwork)+dualNetwork)
				flyover(t, "up", "-f", file)
				before, ids := takeDump(t), pinnedIDs(t)
				for _, command := range []string{"up", "plan", "up"} {
					if got := flyover(t, command, "-f", file); got != "nothing to do: the host is as configured\n" {
						t.Errorf("second %s said %q", command, got)
					}
				}
				sameDump(t, "by a second up", before)
				if diff := cmp.Diff(ids, pinnedIDs(t)); diff != "" {
					t.Errorf("pinned objects were replaced:\n%s", diff)
				}
			})
		})
	}
}

func TestPlanDoesNothing(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		before := takeDump(t)
		text := flyover(t, "plan")
		var steps []struct{ Action, Kind, Object, Detail string }
		if err := json.Unmarshal([]byte(flyover(t, "plan", "-o", "json")), &steps); err != nil {
			t.Fatal(err)
		}
		sameDump(t, "by plan", before)
		var b strings.Builder
		for _, s := range steps {
			b.WriteString(s.Action + " " + s.Kind + " " + s.Object)
			if s.Detail != "" {
				b.WriteString(": " + s.Detail)
			}
			b.WriteString("\n")
		}
		if diff := cmp.Diff(text, b.String()); diff != "" {
			t.Errorf("plan as text and as JSON:\n%s", diff)
		}
		if diff := cmp.Diff(text, flyover(t, "up")); diff != "" {
			t.Errorf("plan and what up did:\n%s", diff)
		}
		if got := strings.TrimSpace(flyover(t, "plan", "-o", "json")); got != "[]" {
			t.Errorf("plan after up: %s", got)
		}
	})
}

func noneLoaded(programs []ebpf.ProgramID) bool {
	for _, id := range programs {
		if p, err := ebpf.NewProgramFromID(id); err == nil {
			p.Close()
			return false
		}
	}
	return true
}
