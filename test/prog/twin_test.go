// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"flyover/bpf"
	"flyover/test/model"
	"flyover/test/packet"
)

// twin is a datapath and the models of it, one for each family, which get the same packets.
type twin struct {
	*datapath
	t         testing.TB
	four, six *family
	// counted is how many packets have had each reason, by hook.
	counted map[string]*[3]uint64
	reasons map[string]bpf.DatapathReason
	// traffic is what each endpoint has sent, received, and of what it sent has had dropped.
	traffic map[int][3]tally
	out     []byte // where frames come out
	// contexts are those of the ways that a packet can come, encoded.
	contexts map[way][]byte
	// last is not later than now; asking for it costs as much as a packet.
	last unix.Timespec
}

// way is how a packet comes.
type way struct {
	hook     model.Hook
	endpoint int
	came     model.Came
}

func newTwin(t testing.TB, opts options, sockets map[uint16]bool) *twin {
	t.Helper()
	w := &twin{
		datapath: load(t, opts), t: t, counted: map[string]*[3]uint64{}, reasons: map[string]bpf.DatapathReason{},
		traffic: map[int][3]tally{}, contexts: map[way][]byte{},
		out: make([]byte, 8192),
	}
	for _, r := range bpf.Reasons() {
		w.reasons[r.String()] = r
	}
	w.four, w.six = w.newFamily(addresses4, w.tables4(), sockets), w.newFamily(addresses6, w.tables6(), sockets)
	w.six.model.Share(w.four.model)
	// What control says of the host itself and of exempt destinations, and other tests do without.
	put(t, w.FoNeighbours4, bpf.DatapathNeighbourKey{Network: masqueraded, Addr: gatewayAddr.As4()},
		bpf.DatapathNeighbourEntry{Mac: gatewayMAC, Ifindex: w.bridge})
	exempt4, exempt6 := addresses4.exempt, addresses6.exempt
	put(t, w.FoExempt4, bpf.DatapathExemptKey{PrefixLen: 32 + uint32(exempt4.Bits()), Network: masqueraded,
		Addr: exempt4.Addr().As4()}, bpf.DatapathExemptEntry{Network: masqueraded})
	put(t, w.datapath.six.FoExempt6, bpf.Datapath6ExemptKey{PrefixLen: 32 + uint32(exempt6.Bits()), Network: masqueraded,
		Addr: exempt6.Addr().As16()}, bpf.Datapath6ExemptEntry{Network: masqueraded})
	var network bpf.DatapathNetworkEntry
	if err := w.FoNetworks.Lookup(uint32(masqueraded), &network); err != nil {
		t.Fatal(err)
	}
	network.Flags |= bpf.DatapathNetworkFlagsNETWORK_EXEMPT
	put(t, w.FoNetworks, uint32(masqueraded), network)
	return w
}

// familyOf is the family that the programs take a frame for, by its EtherType alone.
func (w *twin) familyOf(frame []byte) *family {
	if binary.BigEndian.Uint16(frame[12:]) == 0x86dd {
		return w.six
	}
	return w.four
}

// inject is the input for the program.
func (w *twin) inject(in model.Input) injection {
	switch in.Hook {
	case model.FromEndpoint:
		i := w.fromEndpoint(in.Endpoint, in.Frame)
		if in.Endpoint == 0 {
			i.context.Ifindex = w.uplink
		}
		return i
	case model.FromUplink:
		return w.fromUplink(in.Frame)
	}
	i := w.toUplink(0, in.Frame)
	i.context.IngressIfindex = map[model.Came]uint32{model.OffBridge: w.bridge, model.FromElsewhere: w.uplink}[in.Came]
	return i
}

// clock is the clock that the programs read.
func (w *twin) clock() unix.Timespec {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now); err != nil {
		w.t.Fatal(err)
	}
	return now
}

func milliseconds(t unix.Timespec) uint32 { return uint32(t.Nano() / 1e6) }

// awaitSecond lets the turn of a second pass, so that a packet seldom meets it.
func (w *twin) awaitSecond() {
	for w.last.Nsec > 990e6 {
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 1e9 - w.last.Nsec}, nil)
		w.last = w.clock()
	}
}

// contextOf is the encoded context of an injection.
func (w *twin) contextOf(in model.Input, injected injection) []byte {
	by := way{in.Hook, in.Endpoint, in.Came}
	if w.contexts[by] == nil {
		encoded, err := binary.Append(nil, binary.NativeEndian, injected.context)
		if err != nil {
			w.t.Fatal(err)
		}
		w.contexts[by] = encoded
	}
	return w.contexts[by]
}

// heldMost is how many fragments may be held before they are forgotten, so that they never meet in the table for them.
const heldMost = 40

// send gives both the packet. It returns what they do not agree on, and what became of the packet.
func (w *twin) send(in model.Input) (model.Outcome, []string) {
	f := w.familyOf(in.Frame)
	if f.model.HeldBack >= heldMost {
		f.forgetDatagrams()
	}
	injected := w.inject(in)
	opts := ebpf.RunOptions{Data: in.Frame, DataOut: w.out[:len(in.Frame)+256], Context: w.contextOf(in, injected)}
	w.awaitSecond()
	before := w.last
	action, err := injected.program.Run(&opts)
	if err != nil {
		w.t.Fatalf("run %s: %v\n%s", injected.hook, err, packet.Text(in.Frame))
	}
	after := w.clock()
	w.last = after
	in.Time = model.Time{Seconds: uint32(before.Sec), From: milliseconds(before), To: milliseconds(after)}
	other := f.model
	if before.Sec != after.Sec { // the program may have seen either second
		other = f.model.Clone()
	}
	outcome, differences := f.judge(in, int32(action), opts.DataOut)
	if len(differences) > 0 && before.Sec != after.Sec {
		w.uncount(in.Hook, outcome.Reason)
		w.replace(f, other)
		in.Time.Seconds = uint32(after.Sec)
		outcome, differences = f.judge(in, int32(action), opts.DataOut)
	}
	w.countTraffic(in, outcome)
	return outcome, differences
}

// replace gives the family another model, which has in common with the other family's what that had.
func (w *twin) replace(f *family, m *model.Model) {
	f.model = m
	w.four.model.Share(m)
	w.six.model.Share(m)
}

// countTraffic counts the packet for the endpoints that it has to do with.
func (w *twin) countTraffic(in model.Input, out model.Outcome) {
	bytes := uint64(len(in.Frame))
	add := func(id, what int) {
		n := w.traffic[id]
		n[what].Packets++
		n[what].Bytes += bytes
		w.traffic[id] = n
	}
	if in.Hook == model.FromEndpoint && in.Endpoint != 0 && out.Reason != model.Held {
		add(in.Endpoint, 0)
		if strings.HasPrefix(out.Reason, "DROP_") {
			add(in.Endpoint, 2)
		}
	}
	if out.To != 0 {
		add(out.To, 1)
	}
}

// compareTraffic compares what has been counted of an endpoint.
func (w *twin) compareTraffic(id int) []string {
	var cpus []bpf.DatapathTrafficEntry
	if err := w.FoTraffic.Lookup(uint32(id), &cpus); err != nil {
		w.t.Fatal(err)
	}
	var got [3]tally
	for _, e := range cpus {
		got[0].Packets, got[0].Bytes = got[0].Packets+e.Sent.Packets, got[0].Bytes+e.Sent.Bytes
		got[1].Packets, got[1].Bytes = got[1].Packets+e.Received.Packets, got[1].Bytes+e.Received.Bytes
		got[2].Packets, got[2].Bytes = got[2].Packets+e.Dropped.Packets, got[2].Bytes+e.Dropped.Bytes
	}
	want := w.traffic[id]
	return unequal("traffic of", id, &want, &got)
}

// judge lets the model have the packet that the program has had, and compares.
func (w *family) judge(in model.Input, action int32, frame []byte) (model.Outcome, []string) {
	want := w.model.Receive(in)
	differences := append([]string{}, w.model.Faults...)
	if got := w.actionOf(want.Reason); action != got {
		differences = append(differences, fmt.Sprintf("action %d, the model has %d", action, got))
	}
	differences = append(differences, w.compareReason(in.Hook, want.Reason)...)
	if want.Frame != nil && string(want.Frame) != string(frame) {
		differences = append(differences, "frame (-model +program):\n"+packet.Diff(want.Frame, frame))
	}
	return want, append(differences, w.compareTouched()...)
}

func (w *twin) actionOf(reason string) int32 {
	r, ok := w.reasons[reason]
	if !ok { // held
		return actions[bpf.Drop]
	}
	class, _, _ := strings.Cut(strings.ToLower(r.String()), "_")
	return actions[bpf.Class(class)]
}

// compareReason looks whether the packet was counted under the reason, which is then under no other.
func (w *twin) compareReason(hook model.Hook, reason string) []string {
	n := w.counted[reason]
	if n == nil {
		n = &[3]uint64{}
		w.counted[reason] = n
	}
	n[hook]++
	if reason == model.Held {
		return nil
	}
	if got := w.packets(reason); got != *n {
		return []string{fmt.Sprintf("the model has reason %s; the programs': %s", reason, w.otherReasons())}
	}
	return nil
}

func (w *twin) uncount(hook model.Hook, reason string) { w.counted[reason][hook]-- }

// packets is how many packets the programs have counted under the reason, by hook.
func (w *twin) packets(reason string) [3]uint64 {
	var cpus []bpf.DatapathReasonEntry
	if err := w.FoReasons.Lookup(uint32(w.reasons[reason]), &cpus); err != nil {
		w.t.Fatal(err)
	}
	var sum [3]uint64
	for _, e := range cpus {
		sum[model.FromEndpoint] += e.FromEndpoint.Packets
		sum[model.FromUplink] += e.FromUplink.Packets
		sum[model.ToUplink] += e.ToUplink.Packets
	}
	return sum
}

// otherReasons are those that are counted otherwise than by the model.
func (w *twin) otherReasons() string {
	var all []string
	for name := range w.reasons {
		want := [3]uint64{}
		if n := w.counted[name]; n != nil {
			want = *n
		}
		if got := w.packets(name); got != want {
			all = append(all, fmt.Sprintf("%s %v, the model %v", name, got, want))
		}
	}
	return strings.Join(all, "; ")
}
