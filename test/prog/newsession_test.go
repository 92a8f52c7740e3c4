// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// freshCall is how many new sessions are made by one call.
const freshCall = 500

// Sizes of tables: one that the CPU's caches hold, the default, and a million.
var freshTables = []int{4096, 131072, million}

// filling is the number of sessions that leaves a quarter of a table empty, and some.
func filling(table int) int { return 7 * table / 10 }

// BenchmarkNewSession makes one session after the other. "single" has a call for each, "hot" many in a call: from nothing to less
// than 3/4 of the table, or of the ports.
func BenchmarkNewSession(b *testing.B) {
	b.Run("single", func(b *testing.B) {
		d := loadLoopback(b, options{Sessions: million})
		single(b, d.FromEndpoint, func(n int) []byte {
			to := netip.AddrFrom4([4]byte{20, byte(n >> 16), byte(n >> 8), byte(n)})
			return packet.New(layers.IPProtocolUDP, d.sent(1, 21000, netip.AddrPortFrom(to, 53)), nil).Bytes()
		}, actions[bpf.Forward])
	})
	for _, m := range []mapping{dependent, independent} {
		for _, table := range freshTables {
			b.Run(fmt.Sprintf("hot/%v/64 of a port/table of %d", m, table), func(b *testing.B) {
				freshSessions(b, m, table, spread(filling(table), 64, 1024), func(*datapath) {})
			})
		}
	}
	for _, table := range freshTables {
		b.Run(fmt.Sprintf("hot/%v/each with its mapping/table of %d", independent, table), func(b *testing.B) {
			freshSessions(b, independent, table, spread(min(filling(table), 46000), 1, 1024), func(*datapath) {})
		})
	}
}

// BenchmarkNewSessionOverExpired is the same in a table full of expired sessions, two of which are collected for each new one.
func BenchmarkNewSessionOverExpired(b *testing.B) {
	for _, m := range []mapping{dependent, independent} {
		for _, table := range freshTables {
			b.Run(fmt.Sprintf("hot/%v/64 of a port/table of %d", m, table), func(b *testing.B) {
				freshSessions(b, m, table, spread(filling(table), 64, 30000), func(d *datapath) {
					d.makeAll(b, spread(table, 64, 1024))
					d.ageAll(b)
				})
			})
		}
	}
}

// freshSessions makes the tuples' sessions in an empty datapath, or what prepare makes of it, and reports the median of the
// calls, less what the feeder takes, of all turns. A turn is one iteration of the benchmark.
func freshSessions(b *testing.B, m mapping, table int, tuples []tuple, prepare func(*datapath)) {
	b.Helper()
	var durations []time.Duration
	for b.Loop() {
		d := loadLoopback(b, options{Sessions: uint32(table), Ports: allPorts, Mapping: m})
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
