// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

/*
 * BPF_PROG_RUN times a program with and without repeats. With repeats it is warm, but each run gets the packet that the last one
 * left. So where a packet changes, the tables are made such that it changes into itself, all but its TTL: the same work is done,
 * at most 250 times a call; only the checksum of the port is spared, since the port stays. Where there is no such packet (an ARP request becomes a reply, a new session is new once) each run is
 * a call of its own: colder, and with a clock in it, which a program that does nothing shows. Medians of all calls.
 *
 * Calls with repeats take no context, so the interface is always the loopback, which the tables then say is an endpoint or uplink.
 */
const (
	loopback = 1
	repeats  = 250
)

func reportMedian(b *testing.B, durations []time.Duration) {
	b.Helper()
	slices.Sort(durations)
	b.ReportMetric(float64(durations[len(durations)/2].Nanoseconds()), "ns/packet")
}

// warm measures runs of one call together. The last run must end in action, or the packet was no fixed point.
func warm(b *testing.B, p *ebpf.Program, frame []byte, action int32) {
	b.Helper()
	var durations []time.Duration
	for b.Loop() {
		got, duration, err := p.Benchmark(frame, repeats, nil)
		if err != nil || int32(got) != action {
			b.Fatalf("action %d, error %v, want action %d", int32(got), err, action)
		}
		durations = append(durations, duration)
	}
	reportMedian(b, durations)
}

// single measures each run by a call of its own; frame makes the packet of the n-th.
func single(b *testing.B, p *ebpf.Program, frame func(n int) []byte, action int32) {
	b.Helper()
	var durations []time.Duration
	for n := 0; b.Loop(); n++ {
		got, duration, err := p.Benchmark(frame(n), 1, nil)
		if err != nil || int32(got) != action {
			b.Fatalf("run %d: action %d, error %v, want action %d", n, int32(got), err, action)
		}
		durations = append(durations, duration)
	}
	reportMedian(b, durations)
}

// loadLoopback makes the loopback the interface of endpoint 1, and an uplink.
func loadLoopback(t testing.TB, opts options) *datapath {
	t.Helper()
	d := load(t, opts)
	shared := *d.host
	shared.endpoints = slices.Clone(d.endpoints)
	shared.endpoints[1].ifindex, shared.uplink, shared.uplinkMAC = loopback, loopback, packet.MAC{}
	d.host = &shared
	d.fillEndpoint(t, 1)
	d.fillUplink(t, loopback, outsideAddr)
	return d
}

func BenchmarkNothing(b *testing.B) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	frame := make([]byte, 64)
	b.Run("warm", func(b *testing.B) { warm(b, p, frame, 0) })
	b.Run("single", func(b *testing.B) { single(b, p, func(int) []byte { return frame }, 0) })
}

func BenchmarkUnicast(b *testing.B) {
	d := loadLoopback(b, options{})
	frame := d.neighbourly(layers.IPProtocolTCP, nil).Bytes()
	b.Run("warm", func(b *testing.B) { warm(b, d.FromEndpoint, frame, actions[bpf.Forward]) })
	b.Run("single", func(b *testing.B) {
		single(b, d.FromEndpoint, func(int) []byte { return frame }, actions[bpf.Forward])
	})
}

func BenchmarkARPAnswer(b *testing.B) {
	d := loadLoopback(b, options{})
	frame := packet.ARPRequest(d.endpoints[1].mac, d.endpoints[1].addr, gatewayAddr).Bytes()
	single(b, d.FromEndpoint, func(int) []byte { return frame }, actions[bpf.Answer])
}

// BenchmarkOut and BenchmarkIn: established sessions. For the warm figure the session is translated to itself.
func BenchmarkOut(b *testing.B) { benchMappings(b, benchOut) }

func BenchmarkIn(b *testing.B) { benchMappings(b, benchIn) }

func benchMappings(b *testing.B, bench func(*testing.B, mapping)) {
	b.Helper()
	for _, m := range []mapping{independent, dependent} {
		b.Run(m.String(), func(b *testing.B) { bench(b, m) })
	}
}

func benchOut(b *testing.B, m mapping) {
	d := loadLoopback(b, options{Mapping: m})
	e := d.sent(1, 21000, remote(443))
	p := packet.New(layers.IPProtocolTCP, e, nil)
	p.IPv4.TTL = 255
	b.Run("single", func(b *testing.B) {
		single(b, d.FromEndpoint, func(int) []byte { return p.Bytes() }, actions[bpf.Forward])
	})
	b.Run("warm", func(b *testing.B) {
		d.translateToItself(b)
		warm(b, d.FromEndpoint, p.Bytes(), actions[bpf.Forward])
	})
}

func benchIn(b *testing.B, m mapping) {
	d := loadLoopback(b, options{Mapping: m})
	f := d.open1(b, 21000)
	p := d.reply(f)
	p.IPv4.TTL = 255
	b.Run("single", func(b *testing.B) {
		single(b, d.FromUplink, func(int) []byte { return p.Bytes() }, actions[bpf.Forward])
	})
	b.Run("warm", func(b *testing.B) {
		d.translateToItself(b)
		own := d.reply(d.open1(b, 21000))
		own.IPv4.TTL = 255
		own.SetDestination(f.out.Source)
		warm(b, d.FromUplink, own.Bytes(), actions[bpf.Forward])
	})
}

// open1 opens a TCP session of endpoint 1 by the loopback, without a look at the frame.
func (d *datapath) open1(b *testing.B, port uint16) flow {
	b.Helper()
	f := flow{proto: layers.IPProtocolTCP, out: d.sent(1, port, remote(443))}
	for range 2 {
		if _, _, err := d.FromEndpoint.Benchmark(packet.New(f.proto, f.out, nil).Bytes(), 1, nil); err != nil {
			b.Fatal(err)
		}
	}
	f.port = be16(d.session(b, f.key()).OutsidePort)
	return f
}

// translateToItself gives the uplink the endpoint's own address, and ends all sessions.
func (d *datapath) translateToItself(b *testing.B) {
	b.Helper()
	for key := range entries[sessionKey, sessionEntry](b, d.FoSessions4) {
		if s := d.session(b, key); s.Life.State > bpf.DatapathSessionStateSESSION_CLAIMED {
			d.age(b, key, 10000)
		}
	}
	link, err := theUplink()
	if err != nil {
		b.Fatal(err)
	}
	for _, ifindex := range []uint32{link, loopback} {
		d.fillUplink(b, ifindex, d.endpoints[1].addr)
	}
}

// theUplink is the interface that the route leads to, whatever the loopback stands for.
func theUplink() (uint32, error) {
	h, err := theHost()
	if err != nil {
		return 0, err
	}
	return h.uplink, nil
}

// BenchmarkIPv6 is the same for the other family; single runs, which have a clock in them.
func BenchmarkIPv6(b *testing.B) {
	d := loadLoopback(b, options{Mapping: independent})
	own := d.endpoints[1]
	unicast := d.neighbourly6(layers.IPProtocolTCP, nil).Bytes()
	b.Run("unicast/warm", func(b *testing.B) { warm(b, d.FromEndpoint, unicast, actions[bpf.Forward]) })
	b.Run("unicast/single", func(b *testing.B) {
		single(b, d.FromEndpoint, func(int) []byte { return unicast }, actions[bpf.Forward])
	})
	ask := packet.Solicitation(own.mac, own.addr6, gateway6).Bytes()
	b.Run("neighbour answer/single", func(b *testing.B) {
		single(b, d.FromEndpoint, func(int) []byte { return ask }, actions[bpf.Answer])
	})
	remote := netip.AddrPortFrom(remoteAddr6, 443)
	out := packet.New(layers.IPProtocolUDP, d.sent(1, 21000, remote), nil).Bytes()
	b.Run("out/single", func(b *testing.B) {
		single(b, d.FromEndpoint, func(int) []byte { return out }, actions[bpf.Forward])
	})
	in := packet.New(layers.IPProtocolUDP, d.arrived(remote, 21000), nil).Bytes()
	b.Run("in/single", func(b *testing.B) {
		single(b, d.FromUplink, func(int) []byte { return in }, actions[bpf.Forward])
	})
}

// BenchmarkUnicastOf is BenchmarkUnicast in a network of so many endpoints, with frames to random ones among the first so many. Each run
// is a call of its own, but for the warm ones, all to the same. The size of the tables costs nothing; what does is that entries which were used long ago are in no cache.
func BenchmarkUnicastOf(b *testing.B) {
	for _, size := range []struct{ endpoints, among int }{{2, 1}, {1000, 1}, {10000, 1}, {10000, 100}, {1000, 999}, {10000, 9999}} {
		b.Run(fmt.Sprintf("%d/to %d", size.endpoints, size.among), func(b *testing.B) {
			d := loadLoopback(b, options{})
			frames := d.crowd(b, size.endpoints, size.among)
			single(b, d.FromEndpoint, func(n int) []byte { return frames[n%len(frames)] }, actions[bpf.Forward])
		})
	}
	for _, endpoints := range []int{2, 10000} {
		b.Run(fmt.Sprintf("%d/warm", endpoints), func(b *testing.B) {
			d := loadLoopback(b, options{})
			warm(b, d.FromEndpoint, d.crowd(b, endpoints, 1)[0], actions[bpf.Forward])
		})
	}
}

// crowd gives endpoint 1's network more endpoints, so that there are so many in all, and returns frames to random ones among the others.
func (d *datapath) crowd(b *testing.B, endpoints, among int) [][]byte {
	b.Helper()
	own, behind := d.endpoints[1], d.endpoints[2]
	macs := []packet.MAC{behind.mac}
	for n := 2; n < endpoints; n++ {
		mac := packet.MAC{2, 0xc0, 0, 0, byte(n >> 8), byte(n)}
		macs = append(macs, mac)
		id := uint32(len(d.endpoints) + n)
		put(b, d.FoFdb, bpf.DatapathFdbKey{Network: own.network, Mac: mac}, bpf.DatapathFdbEntry{Ifindex: behind.ifindex, Endpoint: id})
		put(b, d.FoEndpoints, bpf.DatapathEndpointKey{Ifindex: 1<<20 + uint32(n)}, bpf.DatapathEndpointEntry{
			Id: id, Network: own.network, Addr4: [4]byte{10, 99, byte(n >> 8), byte(n)}, Mac: mac,
		})
		put(b, d.FoNeighbours4, bpf.DatapathNeighbourKey{Network: own.network, Addr: [4]byte{10, 99, byte(n >> 8), byte(n)}},
			bpf.DatapathNeighbourEntry{Mac: mac, Ifindex: behind.ifindex})
	}
	random := rand.New(rand.NewPCG(1, 2))
	frames := make([][]byte, 1<<14)
	for i := range frames {
		p := d.neighbourly(layers.IPProtocolTCP, nil)
		p.Ethernet.DstMAC = slices.Clone(macs[len(macs)-1-random.IntN(among)][:])
		frames[i] = p.Bytes()
	}
	return frames
}
