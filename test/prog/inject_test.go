// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"flyover/bpf"
	"flyover/test/packet"
)

// skBuff is struct __sk_buff of linux/bpf.h. BPF_PROG_RUN takes only some of it.
type skBuff struct {
	Len, PktType, Mark, QueueMapping, Protocol uint32
	VlanPresent, VlanTci, VlanProto, Priority  uint32
	IngressIfindex, Ifindex, TcIndex           uint32
	Cb                                         [5]uint32
	Hash, TcClassid, Data, DataEnd, NapiID     uint32
	Family, RemoteIP4, LocalIP4                uint32
	RemoteIP6, LocalIP6                        [4]uint32
	RemotePort, LocalPort, DataMeta            uint32
	FlowKeys, Tstamp                           uint64
	WireLen, GsoSegs                           uint32
	Sk                                         uint64
	GsoSize, TstampType                        uint32
	Hwtstamp                                   uint64
}

// injection is a packet about to be seen by a program.
type injection struct {
	program *ebpf.Program
	hook    string
	context skBuff
	frame   []byte
}

func (d *datapath) fromEndpoint(id int, frame []byte) injection {
	return injection{d.FromEndpoint, "from_endpoint", skBuff{Ifindex: d.endpoints[id].ifindex}, frame}
}

func (d *datapath) fromUplink(frame []byte) injection {
	return injection{d.FromUplink, "from_uplink", skBuff{Ifindex: d.uplink}, frame}
}

// toUplink is a packet that the stack has routed from endpoint id, off the bridge device, 0 for the host itself.
func (d *datapath) toUplink(id int, frame []byte) injection {
	context := skBuff{Ifindex: d.uplink}
	if id != 0 {
		context.IngressIfindex = d.bridge
	}
	return injection{d.ToUplink, "to_uplink", context, frame}
}

// run is BPF_PROG_RUN: the action and the frame that came out.
func (in injection) run(t testing.TB) (int32, []byte) {
	t.Helper()
	opts := ebpf.RunOptions{Data: in.frame, DataOut: make([]byte, len(in.frame)+256), Context: &in.context}
	action, err := in.program.Run(&opts)
	if err != nil {
		t.Fatalf("run %s: %v", in.hook, err)
	}
	return int32(action), opts.DataOut
}

// expectation is what is to become of a packet; all that it does not say is to stay as it was.
type expectation struct {
	reason bpf.DatapathReason
	frame  []byte // as it comes out; nil: as it went in
	to     uint32 // endpoint that received it by the fast path; 0: none
}

// actions are the TC_ACT codes of the classes.
var actions = map[bpf.Class]int32{
	bpf.Forward: 7,  // TC_ACT_REDIRECT
	bpf.Answer:  7,  // TC_ACT_REDIRECT
	bpf.Pass:    -1, // TC_ACT_UNSPEC
	bpf.Drop:    2,  // TC_ACT_SHOT
}

// expect runs one packet and compares the action, the whole frame and all counters; it returns the frame.
func (d *datapath) expect(t testing.TB, in injection, want expectation) []byte {
	t.Helper()
	before := d.counters(t)
	action, frame := in.run(t)
	d.compare(t, in, want, action, frame, d.counters(t).since(before))
	return frame
}

// compare is expect for a packet that has run.
func (d *datapath) compare(t testing.TB, in injection, want expectation, action int32, frame []byte, got counters) {
	t.Helper()
	if action != actions[want.reason.Class()] {
		t.Errorf("action %d, want %d for %v", action, actions[want.reason.Class()], want.reason)
	}
	if want.frame == nil {
		want.frame = in.frame
	}
	if diff := packet.Diff(want.frame, frame); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(d.wantCounters(in, want), got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func (d *datapath) wantCounters(in injection, want expectation) counters {
	one := tally{1, uint64(len(in.frame))}
	c := counters{in.hook + " " + want.reason.String(): one}
	for id, e := range d.endpoints {
		if id == 0 {
			continue
		}
		if in.hook == "from_endpoint" && in.context.Ifindex == e.ifindex {
			c.add(id, "sent", one)
			if strings.HasPrefix(want.reason.String(), "DROP_") {
				c.add(id, "dropped", one)
			}
		}
		if uint32(id) == want.to {
			c.add(id, "received", one)
		}
	}
	return c
}

// contextAfter is run for what the program left in the context.
func (in injection) contextAfter(t testing.TB) skBuff {
	t.Helper()
	var after skBuff
	if _, err := in.program.Run(&ebpf.RunOptions{Data: in.frame, Context: &in.context, ContextOut: &after}); err != nil {
		t.Fatalf("run %s: %v", in.hook, err)
	}
	return after
}
