// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/ageing"
	"flyover/test/packet"
)

const (
	million = 1 << 20
	// accessed is how many sessions the packets of a lookup's benchmark are of, whatever the size of the table.
	accessed = 1000
	// hotRuns is how many runs a call of BPF_PROG_RUN has where the packets come round.
	hotRuns = 100 * accessed
)

// allPorts are those that a network may have.
var allPorts = [2]uint16{1024, 65535}

// tuple is a UDP flow of endpoint 1 to one of the remotes from 20.0.0.0 on.
type tuple struct {
	remote uint32
	port   uint16
}

// spread is n flows, to so many remotes from each inside port.
func spread(n, remotes, firstPort int) []tuple {
	all := make([]tuple, n)
	for i := range all {
		all[i] = tuple{uint32(i % remotes), uint16(firstPort + i/remotes)}
	}
	return all
}

func (u tuple) address() netip.Addr {
	return netip.AddrFrom4([4]byte{20, byte(u.remote >> 16), byte(u.remote >> 8), byte(u.remote)})
}

func (u tuple) key(d *datapath) sessionKey {
	return sessionKey{
		Inside: d.endpoints[1].addr.As4(), Remote: u.address().As4(), InsidePort: be16(u.port), RemotePort: be16(53), Proto: 17,
	}
}

// outwards are the tuples' packets. Only the first is made with care; in the others the addresses, ports and the header's checksum
// are replaced, and the UDP checksum, which the datapath corrects and does not judge, is wrong.
func (d *datapath) outwards(all []tuple) (frames [][frameRoom]byte, length int) {
	first := packet.New(layers.IPProtocolUDP, d.sent(1, 1, netip.AddrPortFrom(all[0].address(), 53)), []byte("numbered")).Bytes()
	frames = make([][frameRoom]byte, len(all))
	for i, u := range all {
		f := frames[i][:copy(frames[i][:], first)]
		remote := u.address().As4()
		copy(f[30:], remote[:])
		binary.BigEndian.PutUint16(f[34:], u.port)
		finishIPv4(f)
	}
	return frames, len(first)
}

// inwards are the answers to the tuples, whose sessions are there.
func (d *datapath) inwards(t testing.TB, all []tuple) (frames [][frameRoom]byte, length int) {
	t.Helper()
	first := packet.New(layers.IPProtocolUDP, d.arrived(netip.AddrPortFrom(all[0].address(), 53), 1), []byte("numbered")).Bytes()
	frames = make([][frameRoom]byte, len(all))
	for i, u := range all {
		f := frames[i][:copy(frames[i][:], first)]
		remote := u.address().As4()
		copy(f[26:], remote[:])
		binary.BigEndian.PutUint16(f[36:], be16(d.session(t, u.key(d)).OutsidePort))
		finishIPv4(f)
	}
	return frames, len(first)
}

// finishIPv4 sets the checksum of a header without options.
func finishIPv4(frame []byte) {
	header := frame[14:34]
	header[10], header[11] = 0, 0
	sum := uint32(0)
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum>>16+sum))
}

// makeAll makes the tuples' sessions.
func (d *datapath) makeAll(t testing.TB, all []tuple) {
	t.Helper()
	frames, length := d.outwards(all)
	newFeeder(t, d.FromEndpoint, frames, length).run(t, len(frames), actions[bpf.Forward])
	var last sessionEntry
	if err := d.FoSessions4.Lookup(all[len(all)-1].key(d), &last); err != nil {
		t.Fatalf("the last session: %v", err)
	}
}

// ageAll lets all sessions expire.
func (d *datapath) ageAll(t testing.TB) {
	t.Helper()
	const enough = 10000 * time.Second
	if err := ageing.Map[sessionKey, sessionEntry](d.FoSessions4, enough); err != nil {
		t.Fatal(err)
	}
	if err := ageing.Map[replyKey, replyEntry](d.FoReplies4, enough); err != nil {
		t.Fatal(err)
	}
}

// lookups are the cases of BenchmarkEstablished.
var lookups = []struct {
	name            string
	table, sessions int
	scattered       bool // chosen from all over the table, and not those that were made one after the other
}{
	{"1000 in a table of 1024", 1024, accessed, false},
	{"1000 in a table of a million", million, accessed, false},
	{"neighbours of a million", million, million - million/16, false},
	{"any of a million", million, million - million/16, true},
}

// BenchmarkEstablished: packets of 1000 sessions in random order, which are all that there are, or some of a million. Entries that
// were made one after the other lie so in memory, too: neighbours show what the size of the table costs, and the rest is what it
// costs that other memory is touched for each session.
func BenchmarkEstablished(b *testing.B) {
	for _, m := range []mapping{dependent, independent} {
		for _, l := range lookups {
			d := loadLoopback(b, options{Sessions: uint32(l.table), Ports: allPorts, Mapping: m})
			all := spread(l.sessions, 64, 1024)
			d.makeAll(b, all)
			chosen := choose(all, l.scattered)
			b.Run(fmt.Sprintf("out/%v/%s", m, l.name), func(b *testing.B) {
				frames, length := d.outwards(chosen)
				hot(b, newFeeder(b, d.FromEndpoint, frames, length), own(b, frames, length, hotRuns))
			})
			b.Run(fmt.Sprintf("in/%v/%s", m, l.name), func(b *testing.B) {
				frames, length := d.inwards(b, chosen)
				hot(b, newFeeder(b, d.FromUplink, frames, length), own(b, frames, length, hotRuns))
			})
			d.Close()
		}
	}
}

// choose is as many as are accessed, in random order.
func choose(all []tuple, scattered bool) []tuple {
	chosen := slices.Clone(all)
	if !scattered {
		chosen = chosen[len(chosen)-accessed:]
	}
	rand.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen[:accessed]
}

// hot reports the median of many calls, less what the feeder takes.
func hot(b *testing.B, f *feeder, feeding time.Duration) {
	b.Helper()
	f.run(b, hotRuns, actions[bpf.Forward])
	var durations []time.Duration
	for b.Loop() {
		durations = append(durations, f.run(b, hotRuns, actions[bpf.Forward])-feeding)
	}
	slices.Sort(durations)
	b.ReportMetric(float64(durations[len(durations)/2].Nanoseconds()), "ns/packet")
	b.ReportMetric(float64(durations[0].Nanoseconds()), "ns/packet-least")
}
