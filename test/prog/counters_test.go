// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"testing"

	"flyover/bpf"
)

type tally struct{ Packets, Bytes uint64 }

// counters are all counters of a datapath that are not zero, by "hook REASON" and "endpoint id direction".
type counters map[string]tally

func (c counters) add(id int, direction string, n tally) {
	c.count(fmt.Sprintf("endpoint %d %s", id, direction), n)
}

func (c counters) count(name string, n tally) {
	if n == (tally{}) {
		return
	}
	sum := c[name]
	c[name] = tally{sum.Packets + n.Packets, sum.Bytes + n.Bytes}
}

// since is what was counted after before.
func (c counters) since(before counters) counters {
	delta := counters{}
	for name, n := range c {
		was := before[name]
		delta.count(name, tally{n.Packets - was.Packets, n.Bytes - was.Bytes})
	}
	return delta
}

func (d *datapath) counters(t testing.TB) counters {
	t.Helper()
	c := counters{}
	for _, reason := range bpf.Reasons() {
		var cpus []bpf.DatapathReasonEntry
		if err := d.FoReasons.Lookup(uint32(reason), &cpus); err != nil {
			t.Fatalf("read counters of %v: %v", reason, err)
		}
		for _, e := range cpus {
			c.count("from_endpoint "+reason.String(), tally{e.FromEndpoint.Packets, e.FromEndpoint.Bytes})
			c.count("from_uplink "+reason.String(), tally{e.FromUplink.Packets, e.FromUplink.Bytes})
			c.count("to_uplink "+reason.String(), tally{e.ToUplink.Packets, e.ToUplink.Bytes})
		}
	}
	for id := range d.endpoints {
		var cpus []bpf.DatapathTrafficEntry
		if err := d.FoTraffic.Lookup(uint32(id), &cpus); err != nil {
			t.Fatalf("read traffic of endpoint %d: %v", id, err)
		}
		for _, e := range cpus {
			c.add(id, "sent", tally{e.Sent.Packets, e.Sent.Bytes})
			c.add(id, "received", tally{e.Received.Packets, e.Received.Bytes})
			c.add(id, "dropped", tally{e.Dropped.Packets, e.Dropped.Bytes})
		}
	}
	return c
}
