// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"slices"
	"testing"
	"time"

	"flyover/bpf"
)

// others are flows that none of those made has anything of, more than a benchmark sends in a second.
func others() []tuple { return spread(1<<18, 1<<13, 60000) }

// BenchmarkPause: how long does one run of the program hold its CPU, at worst? Each run is a call of its own, with a clock in it; see
// BenchmarkNothing. What else the machine does meanwhile counts, so the longest tells about both.
func BenchmarkPause(b *testing.B) {
	full := spread(million, 64, 1024)
	toOne := spread(int(allPorts[1]-allPorts[0])+1, 1, int(allPorts[0]))
	rows := []struct {
		name   string
		opts   options
		made   []tuple
		expire bool
		next   []tuple
		reason bpf.DatapathReason
	}{
		{"new session, a million expired", options{Sessions: million, Mapping: independent}, full, true, others(),
			bpf.DatapathReasonFORWARD_OUTSIDE},
		{"new session, a million live: refused", options{Sessions: million, Mapping: independent}, full, false, others(),
			bpf.DatapathReasonDROP_SESSIONS_FULL},
		{"limit of mappings met: refused", options{Sessions: million, Mapping: independent, Limits: limits{mappings: 8192}},
			spread(8192*64, 64, 1024), false, others(), bpf.DatapathReasonDROP_LIMIT_MAPPINGS},
		{"each port a mapping's: refused", options{Sessions: million, Mapping: independent}, toOne, false, aliens(),
			bpf.DatapathReasonDROP_NO_PORT},
		{"each port to the remote taken: refused", options{Sessions: million, Mapping: dependent}, toOne, false, aliens(),
			bpf.DatapathReasonDROP_NO_PORT},
	}
	for _, row := range rows {
		row.opts.Ports = allPorts
		b.Run(row.name, func(b *testing.B) {
			d := loadLoopback(b, row.opts)
			defer d.Close()
			d.makeAll(b, row.made)
			if row.expire {
				d.ageAll(b)
			}
			frames, length := d.outwards(row.next)
			d.pause(b, newFeeder(b, d.FromEndpoint, frames, length), row.reason)
		})
	}
}

// aliens are flows whose inside ports are below all outside ports, which the endpoint's own are not.
func aliens() []tuple { return spread(1000, 1, 1) }

// pause runs frame by frame. Every one of them must have the reason.
func (d *datapath) pause(b *testing.B, f *feeder, reason bpf.DatapathReason) {
	b.Helper()
	name := "from_endpoint " + reason.String()
	before := d.counters(b)[name].Packets
	var durations []time.Duration
	for b.Loop() {
		b.StopTimer()
		d.forgetExhausted(b) // each search is a whole one
		d.forgetPressed(b)
		b.StartTimer()
		_, duration, err := f.program.Benchmark(f.frame, 1, nil)
		if err != nil {
			b.Fatal(err)
		}
		durations = append(durations, duration)
	}
	if n := d.counters(b)[name].Packets - before; n != uint64(len(durations)) {
		b.Errorf("%d of %d packets %v", n, len(durations), reason)
	}
	slices.Sort(durations)
	b.ReportMetric(float64(durations[0].Nanoseconds()), "ns/run-least")
	b.ReportMetric(float64(durations[len(durations)/2].Nanoseconds()), "ns/run")
	b.ReportMetric(float64(durations[len(durations)*99/100].Nanoseconds()), "ns/run-p99")
	b.ReportMetric(float64(durations[len(durations)-1].Nanoseconds()), "ns/run-longest")
}
