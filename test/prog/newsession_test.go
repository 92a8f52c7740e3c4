// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

const (
	// fresh is how many new sessions a benchmark makes in a table of a million, from nothing to less than 3/4 full.
	fresh = 7 * million / 10
	// freshCall is how many of them are made by one call.
	freshCall = 1000
	// portsInUse is as many of one remote's ports, or of the mappings' ports: less than 3/4.
	portsInUse = 46000
)

// BenchmarkNewSession makes one session after the other. "single" has a call for each, "hot" 1000 in a call.
func BenchmarkNewSession(b *testing.B) {
	b.Run("single", func(b *testing.B) {
		d := loadLoopback(b, options{Sessions: million})
		single(b, d.FromEndpoint, func(n int) []byte {
			to := netip.AddrFrom4([4]byte{20, byte(n >> 16), byte(n >> 8), byte(n)})
			return packet.New(layers.IPProtocolUDP, d.sent(1, 21000, netip.AddrPortFrom(to, 53)), nil).Bytes()
		}, actions[bpf.Forward])
	})
	rows := []struct {
		name    string
		mapping mapping
		tuples  []tuple
	}{
		{"endpoint-dependent", dependent, spread(fresh, 64, 1024)},
		{"endpoint-independent, 64 to a mapping", independent, spread(fresh, 64, 1024)},
		{"endpoint-independent, each with its mapping", independent, spread(portsInUse, 1, 1024)},
	}
	for _, row := range rows {
		b.Run("hot/"+row.name, func(b *testing.B) {
			freshSessions(b, row.mapping, row.tuples, func(*datapath) {})
		})
	}
}

// BenchmarkNewSessionOverExpired is the same in a table full of expired sessions, two of which are collected for each new one.
func BenchmarkNewSessionOverExpired(b *testing.B) {
	for _, m := range []mapping{dependent, independent} {
		b.Run(m.String(), func(b *testing.B) {
			freshSessions(b, m, spread(fresh, 64, 30000), func(d *datapath) {
				d.makeAll(b, spread(million, 64, 1024))
				d.ageAll(b)
			})
		})
	}
}

// freshSessions makes the tuples' sessions in an empty datapath, or what prepare makes of it, and reports the median of the
// calls, less what the feeder takes, of all turns. A turn is one iteration of the benchmark.
func freshSessions(b *testing.B, m mapping, tuples []tuple, prepare func(*datapath)) {
	b.Helper()
	var durations []time.Duration
	for b.Loop() {
		d := loadLoopback(b, options{Sessions: million, Ports: allPorts, Mapping: m})
		prepare(d)
		frames, length := d.outwards(tuples)
		feeding := own(b, frames, length, len(frames))
		f := newFeeder(b, d.FromEndpoint, frames, length)
		for range len(frames) / freshCall {
			durations = append(durations, f.run(b, freshCall, actions[bpf.Forward])-feeding)
		}
		d.session(b, tuples[len(tuples)/freshCall*freshCall-1].key(d))
		d.Close()
	}
	slices.Sort(durations)
	b.ReportMetric(float64(durations[len(durations)/2].Nanoseconds()), "ns/packet")
	b.ReportMetric(float64(durations[len(durations)/10].Nanoseconds()), "ns/packet-tenth")
}
