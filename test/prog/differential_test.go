// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"flyover/test/model"
	"flyover/test/packet"
)

// How the differential test is run again: FLYOVER_DIFF_SEED and FLYOVER_DIFF_PACKETS, of all rows together.
const (
	seedEnv        = "FLYOVER_DIFF_SEED"
	packetsEnv     = "FLYOVER_DIFF_PACKETS"
	defaultSeed    = 1
	defaultPackets = 1_000_000
)

// Every so many packets time passes, and all tables are compared.
const (
	packetsPerAge     = 400
	packetsPerCompare = 5000
	compareEnv        = "FLYOVER_DIFF_COMPARE" // instead of packetsPerCompare; 1 finds the very packet
)

func fromEnv(t *testing.T, name string, value uint64) uint64 {
	t.Helper()
	if s := os.Getenv(name); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return v
	}
	return value
}

// twinRows are the configurations. There are so few ports that they run out all the time.
var twinRows = []struct {
	name string
	opts options
}{
	{"dependent", options{Mapping: dependent}},
	{"dependent, small table", options{Mapping: dependent, Sessions: 40, Isolated: true}},
	{"dependent, limits", options{Mapping: dependent, Limits: limits{sessions: 20, rate: 2000, burst: 20, broadcasts: 30}}},
	{"independent", options{Mapping: independent}},
	{"independent, small table", options{Mapping: independent, Sessions: 30, Limits: limits{mappings: 5}}},
	{"independent, limits", options{Mapping: independent, Isolated: true, Limits: limits{sessions: 12, mappings: 5, broadcasts: 2}}},
	{"open filter", options{Mapping: openFilter}},
	{"dependent, an unguarded endpoint", options{Mapping: dependent, Unguarded: 1}},
	{"independent, an unguarded endpoint", options{Mapping: independent, Unguarded: 1, Limits: limits{broadcasts: 30}}},
	{"open filter, limits", options{Mapping: openFilter, Sessions: 40,
		Limits: limits{sessions: 15, mappings: 4, rate: 2000, burst: 20}}},
}

// twinPorts are the outside ports; a socket of the host has twinSocket, of TCP and of UDP.
var twinPorts = [2]uint16{40000, 40008}

const twinSocket = 40005

// TestDifferential gives the programs and the model of them the same random packets, and compares after each what became of it.
func TestDifferential(t *testing.T) {
	seed, packets := fromEnv(t, seedEnv, defaultSeed), fromEnv(t, packetsEnv, defaultPackets)
	t.Logf("%s=%d %s=%d", seedEnv, seed, packetsEnv, packets)
	needHost(t)
	before := debug.SetGCPercent(400) // there is little to keep, and much to forget
	t.Cleanup(func() { debug.SetGCPercent(before) })
	listenOn(t, twinSocket)
	for i, row := range twinRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			row.opts.Ports = twinPorts
			w := newTwin(t, row.opts, map[uint16]bool{twinSocket: true})
			w.differ(t, seed, uint64(i), int(packets)/len(twinRows))
		})
	}
}

// listenOn has sockets of the host on the port while the test runs.
func listenOn(t *testing.T, port int) {
	t.Helper()
	for _, a := range []netip.Addr{outsideAddr, outsideAddr6} {
		address := netip.AddrPortFrom(a, uint16(port)).String()
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tcp.Close(); udp.Close() })
	}
}

// differ sends so many packets, up to the first that the two do not agree on.
func (w *twin) differ(t *testing.T, seed, row uint64, packets int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, row))
	both := []*traffic{newTraffic(rng, w.four), newTraffic(rng, w.six)}
	begin, every := time.Now(), int(fromEnv(t, compareEnv, packetsPerCompare))
	for n := range packets {
		if n%packetsPerAge == packetsPerAge-1 {
			w.pass(rng, pick(rng, []uint32{1, 5, 11, 61, 121, 200, 241, 301, 430, 2000, 7441}))
		}
		in := pick(rng, both).next()
		outcome, differences := w.send(in)
		if n%every == every-1 || n == packets-1 {
			differences = append(differences, w.compareAllTables()...)
		}
		if len(differences) > 0 {
			t.Fatalf("%s=%d, packet %d: %s\n%s\nthe model's reason: %s\nthe packet:\n%s", seedEnv, seed, n, inputText(in),
				strings.Join(differences, "\n"), outcome.Reason, packet.Text(in.Frame))
		}
	}
	took := time.Since(begin)
	w.outlived = w.mapping != dependent
	w.checkBijection(t)
	w.checkTokens(t)
	t.Logf("%d packets in %v, %.0f a second; %d sessions of IPv4 and %d of IPv6 at last\n%s\nIPv4:\n%s\nIPv6:\n%s", packets, took.Round(time.Millisecond),
		float64(packets)/took.Seconds(), len(w.four.model.Sessions), len(w.six.model.Sessions), w.countedText(), w.four.eventsText(),
		w.six.eventsText())
}

func inputText(in model.Input) string {
	switch in.Hook {
	case model.FromEndpoint:
		return fmt.Sprintf("from endpoint %d", in.Endpoint)
	case model.FromUplink:
		return "from the uplink"
	}
	return "to the uplink, " + [...]string{"off the bridge", "from the host", "from elsewhere"}[in.Came]
}

// countedText is how many packets had which reason.
func (w *twin) countedText() string {
	var lines []string
	for reason, n := range w.counted {
		lines = append(lines, fmt.Sprintf("%-22s %8d from_endpoint %8d from_uplink %8d to_uplink", reason, n[0], n[1], n[2]))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// eventsText is what happened besides.
func (w *family) eventsText() string {
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(w.model.Events)) {
		lines = append(lines, fmt.Sprintf("%8d %s", w.model.Events[what], what))
	}
	return strings.Join(lines, "\n")
}
