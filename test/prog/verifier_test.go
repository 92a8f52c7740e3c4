// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

// TestVerifierBudget prints what the verifier says of each program. The kernel's limit is a million instructions; ours is a
// quarter of it, for kernels whose verifier is less clever.
func TestVerifierBudget(t *testing.T) {
	const budget = 250000
	d := load(t, options{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	for name, p := range map[string]*ebpf.Program{
		"from_endpoint": d.FromEndpoint, "from_uplink": d.FromUplink, "to_uplink": d.ToUplink, "end_sessions": d.EndSessions,
		"from_endpoint, IPv6": d.six.FromEndpoint, "from_uplink, IPv6": d.six.FromUplink, "to_uplink, IPv6": d.six.ToUplink,
		"end_sessions, IPv6": d.six.EndSessions,
	} {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.VerifiedInstructions()
		if !ok || n > budget {
			t.Errorf("%s: %d instructions verified (known: %v), want at most %d", name, n, ok, budget)
		}
		for line := range strings.Lines(p.VerifierLog) {
			if strings.HasPrefix(line, "processed") || strings.HasPrefix(line, "stack depth") {
				t.Logf("%s: %s", name, strings.TrimSpace(line))
			}
		}
	}
}
