// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/control"
)

// counted is the packets of one reason, of all programs or, as in "to_uplink PASS_OWN", of one.
func counted(s *control.Status, reason string) uint64 {
	var n uint64
	for _, r := range s.Reasons {
		if r.Reason == reason || string(r.Program)+" "+r.Reason == reason {
			n += r.Packets
		}
	}
	return n
}

// countedMore waits for a reason to be counted n times since before: a packet may be on its way yet. More than n is an error.
func countedMore(t *testing.T, before *control.Status, reason string, n uint64) {
	t.Helper()
	var got uint64
	until(t, fmt.Sprintf("%s counted %d times", reason, n), func() bool {
		got = counted(status(t), reason) - counted(before, reason)
		return got >= n
	})
	if got != n {
		t.Errorf("%s counted %d times, want %d", reason, got, n)
	}
}

// endpointCounts is one endpoint's packets as its interface counts them, and as the datapath does.
type endpointCounts struct {
	injected, delivered     uint64 // by the interface inside
	sent, received, dropped uint64 // by the datapath
	slow                    uint64 // delivered by the stack, through the interface at the host's end
}

type counts struct {
	status    *control.Status
	endpoints map[string]endpointCounts
}

// takeCounts reads until two readings agree: then no packet passed between their parts, and each is consistent.
func takeCounts(t *testing.T) counts {
	t.Helper()
	c := readCounts(t)
	until(t, "two equal readings of the counters", func() bool {
		last := c
		c = readCounts(t)
		return cmp.Equal(c, last, cmp.AllowUnexported(counts{}, endpointCounts{}))
	})
	return c
}

func readCounts(t *testing.T) counts {
	t.Helper()
	c := counts{status(t), map[string]endpointCounts{}}
	for _, net := range c.status.Networks {
		for _, e := range net.Endpoints {
			in, host := linkOf(t, e.Namespace, e.Interface), linkOf(t, "", e.HostInterface)
			c.endpoints[e.Namespace] = endpointCounts{
				injected: in.Stats.TX.Packets, delivered: in.Stats.RX.Packets,
				sent: e.Traffic.Sent.Packets, received: e.Traffic.Received.Packets, dropped: e.Traffic.Dropped.Packets,
				slow: host.Stats.TX.Packets,
			}
		}
	}
	return c
}

// conserved checks, when the test is over, that no packet was lost or made without a reason having been counted.
func conserved(t *testing.T) {
	before := takeCounts(t)
	t.Cleanup(func() {
		if wrong := unbalanced(before, takeCounts(t)); wrong != "" {
			t.Errorf("packets not conserved: %s", wrong)
		}
	})
}

// unbalanced says what does not add up, or nothing.
func unbalanced(before, after counts) string {
	var sent, received, dropped uint64
	for name, b := range before.endpoints {
		a := after.endpoints[name]
		if got, want := a.sent-b.sent, a.injected-b.injected; got != want {
			return fmt.Sprintf("%s sent %d packets, the datapath saw %d", name, want, got)
		}
		if got, want := a.delivered-b.delivered, a.received-b.received+a.slow-b.slow; got != want {
			return fmt.Sprintf("%s received %d packets, the datapath and the stack delivered %d", name, got, want)
		}
		sent += a.sent - b.sent
		received += a.received - b.received
		dropped += a.dropped - b.dropped
	}
	byProgram := func(program string, prefixes ...string) uint64 {
		return countedClass(after.status, program, prefixes) - countedClass(before.status, program, prefixes)
	}
	if got := byProgram("from_endpoint", ""); got != sent {
		return fmt.Sprintf("%d packets sent, %d counted by reason", sent, got)
	}
	if got := byProgram("from_endpoint", "DROP_"); got != dropped {
		return fmt.Sprintf("%d packets dropped, %d counted by reason", dropped, got)
	}
	got := byProgram("from_endpoint", "FORWARD_ENDPOINT", "FORWARD_NETWORK") + byProgram("from_uplink", "FORWARD_INSIDE", "FORWARD_ICMP_IN")
	if got != received {
		return fmt.Sprintf("%d packets delivered, %d counted by reason", received, got)
	}
	return ""
}

func countedClass(s *control.Status, program string, prefixes []string) uint64 {
	var n uint64
	for _, r := range s.Reasons {
		for _, prefix := range prefixes {
			if string(r.Program) == program && strings.HasPrefix(r.Reason, prefix) {
				n += r.Packets
			}
		}
	}
	return n
}
