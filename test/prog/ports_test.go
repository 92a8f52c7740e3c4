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

// fillRange opens a session for each of the uplink's ports towards one remote.
func (d *datapath) fillRange(t testing.TB, proto layers.IPProtocol) []flow {
	t.Helper()
	var flows []flow
	taken := map[uint16]bool{}
	for i := range int(d.ports[1]-d.ports[0]) + 1 {
		f := d.open(t, proto, uint16(1000+i))
		if taken[f.port] {
			t.Errorf("port %d given out twice", f.port)
		}
		taken[f.port] = true
		flows = append(flows, f)
	}
	return flows
}

// TestPortRange: a session is refused only when the range is really used up, and then no other session is harmed.
func TestPortRange(t *testing.T) {
	for _, proto := range protocols {
		for _, ports := range [][2]uint16{{40000, 40007}, {40000, 40000}, {40001, 40005}, {65528, 65535}, {1, 3}} {
			d := load(t, options{Ports: ports})
			flows := d.fillRange(t, proto)
			frame := packet.New(proto, d.sent(1, 9, remote(443)), nil).Bytes()
			d.refuse(t, 1, bpf.DatapathReasonDROP_NO_PORT, frame)
			d.checkBijection(t)
			for _, f := range flows {
				d.expect(t, d.fromUplink(d.reply(f).Bytes()), expectation{
					reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *d.reply(f)), to: 1})
			}
			d.masquerade(t, 1, proto, d.sent(1, 9, netip.MustParseAddrPort("198.51.100.8:443")), nil)
			d.checkBijection(t)
			d.checkTokens(t)
		}
	}
}

// TestPortTakeover: the port of a session that is over goes to the next one that needs it, in place.
func TestPortTakeover(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto.String(), func(t *testing.T) {
			d := load(t, options{Ports: [2]uint16{40000, 40007}})
			flows := d.fillRange(t, proto)
			for i, old := range flows {
				d.age(t, old.key(), timeoutOf(uint8(proto), d.session(t, old.key()).Life.State)+portHold+1)
				next := d.sent(2, uint16(i), remote(443))
				if got := d.masquerade(t, 2, proto, next, nil); got != old.port {
					t.Errorf("port %d, want %d, the only one whose session is over", got, old.port)
				}
				frame := packet.New(proto, old.out, nil).Bytes()
				d.refuse(t, 1, bpf.DatapathReasonDROP_NO_PORT, frame)
				d.checkBijection(t)
				if n := d.count(t); n != len(flows) {
					t.Errorf("%d sessions, want %d", n, len(flows))
				}
			}
			d.checkTokens(t)
		})
	}
}

// TestPortRefusedThenFree: a flow that was refused for want of a port gets one as soon as there is one.
func TestPortRefusedThenFree(t *testing.T) {
	d := load(t, options{Ports: [2]uint16{40000, 40003}})
	flows := d.fillRange(t, layers.IPProtocolUDP)
	refused := d.sent(1, 9, remote(443))
	frame := packet.New(layers.IPProtocolUDP, refused, nil).Bytes()
	for range 3 {
		d.refuse(t, 1, bpf.DatapathReasonDROP_NO_PORT, frame)
	}
	d.age(t, flows[2].key(), 300+portHold+1)
	if got := d.masquerade(t, 1, layers.IPProtocolUDP, refused, nil); got != flows[2].port {
		t.Errorf("port %d, want %d", got, flows[2].port)
	}
	d.checkBijection(t)
	d.checkTokens(t)
}

// TestPortWideRange: a range of more ports than are tried still gives each session one, as long as half of it is free.
func TestPortWideRange(t *testing.T) {
	d := load(t, options{Ports: [2]uint16{30000, 30499}})
	d.ports[1] = 30249
	d.fillRange(t, layers.IPProtocolUDP)
	d.checkBijection(t)
}

// TestPortLast: of a range that begins and ends anywhere in the words of the bitmap, the last free ports are found as well.
func TestPortLast(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		d := load(t, options{Mapping: m, Ports: [2]uint16{40010, 40521}})
		d.fillRange(t, layers.IPProtocolUDP)
		d.refuse(t, 1, bpf.DatapathReasonDROP_NO_PORT, packet.New(layers.IPProtocolUDP, d.sent(1, 9, remote(443)), nil).Bytes())
		d.checkBijection(t)
	})
}

// TestPortEvery: every port of the widest range is given out, without one false refusal: to the sessions of one remote, and to mappings.
// It prints what the packet that takes the port costs the closer the range is to full, and what a refusal costs then.
func TestPortEvery(t *testing.T) { overMappings(t, portEvery) }

func portEvery(t *testing.T, m mapping) {
	const first, last = 1024, 65535
	d := loadLoopback(t, options{Mapping: m, Sessions: 1 << 16, Ports: [2]uint16{first, last}})
	// run sends from the n-th of all ports. 67, a DHCP server's, comes behind the last that is needed.
	run := func(n int) (int32, time.Duration) {
		inside := uint16((n-65000)*7919 + 67)
		frame := packet.New(layers.IPProtocolUDP, d.sent(1, inside, remote(443)), nil).Bytes()
		action, took, err := d.FromEndpoint.Benchmark(frame, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		return int32(action), took
	}
	var costs []time.Duration
	made := 0
	for n := range last - first + 1 {
		action, took := run(n)
		if action == actions[bpf.Forward] {
			made++
		}
		costs = append(costs, took)
	}
	if made != last-first+1 {
		t.Errorf("%d of %d sessions made", made, last-first+1)
	}
	for _, fill := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
		end := int(fill * float64(len(costs)))
		window := slices.Clone(costs[max(0, end-len(costs)/200):end])
		slices.Sort(window)
		t.Logf("at %5.1f %%: p50 %v, p99 %v, most %v", 100*fill, window[len(window)/2], window[len(window)*99/100], window[len(window)-1])
	}
	next := last - first + 1
	_, refused := run(next)
	_, again := run(next + 1)
	t.Logf("refused when full: %v, and the next %v", refused, again)
	d.checkBijection(t)
}

// TestPortFoundAtOnce: towards a remote that nobody talks to, every port is free, so that a session is never refused; whatever
// the range's size is, and wherever the hash of the tuple begins to look.
func TestPortFoundAtOnce(t *testing.T) {
	for _, ports := range [][2]uint16{{20000, 29999}, {20000, 24095}, {20000, 24096}, {20000, 24097}, {1024, 65535}} {
		d := load(t, options{Sessions: 1 << 14, Ports: ports})
		refused := 0
		for n := range 5000 {
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, byte(n >> 16), byte(n >> 8), byte(n)}), 53)
			frame := packet.New(layers.IPProtocolUDP, d.sent(1, 7, to), nil).Bytes()
			if action, _ := d.fromEndpoint(1, frame).run(t); action != actions[bpf.Forward] {
				refused++
			}
		}
		if refused != 0 {
			t.Errorf("range %v: %d of 5000 sessions refused, and no port was taken", ports, refused)
		}
		d.checkBijection(t)
	}
}

// TestExhaustedAtOnce: the packet right behind one that has found no port is refused without another search, which would look at
// the oldest tokens.
func TestExhaustedAtOnce(t *testing.T) {
	d := load(t, options{Ports: [2]uint16{40000, 40004}})
	d.fillRange(t, layers.IPProtocolUDP)
	frame := packet.New(layers.IPProtocolUDP, d.sent(1, 9, remote(443)), nil).Bytes()
	oldest := func() (key sessionKey) {
		if err := d.FoExpiry4.Lookup(nil, &key); err != nil {
			t.Fatal(err)
		}
		return key
	}
	d.fromEndpoint(1, frame).run(t)
	for range 20 { // within few milliseconds, those too in which the clock stands still
		before := oldest()
		d.fromEndpoint(1, frame).run(t)
		if after := oldest(); after != before {
			t.Fatal("the refused packet searched")
		}
	}
}
