// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// checkICMPKeepsTimers sends errors about sessions shortly before they expire. One has to go on, and the other has to expire as if
// there had been none.
func checkICMPKeepsTimers(_ *testing.T, h *host) {
	h.upDefault()
	r := h.raw("ns1")
	timers := []time.Duration{7440 * time.Second, 300 * time.Second, 60 * time.Second}
	if !h.ebpf { // nf_conntrack_tcp_timeout_established, _udp_timeout, _icmp_timeout, _icmpv6_timeout
		timers = []time.Duration{432000 * time.Second, 30 * time.Second, 30 * time.Second}
	}
	for i, proto := range h.protocols() {
		h.part(proto.name, func() { keepsTimer(r, proto.number, uint16(34001+10*i), timers[i]) })
	}
}

// slack is more than a part takes, and less than each timer.
const slack = 8 * time.Second

func keepsTimer(r *raw, proto layers.IPProtocol, port uint16, timer time.Duration) {
	control, kept, silent := r.talk(proto, port), r.talk(proto, port+1), r.talk(proto, port+2)
	r.h.age(timer - slack)
	r.manyErrors(kept, 1000)
	r.manyErrors(silent, 100)
	r.in("data after ICMP errors", r.answer(kept.sent), r.port(port+1))
	r.h.age(2 * slack)
	if r.delivered(r.answer(control.sent)) {
		r.h.t.Fatalf("the timer is not %v", timer)
	}
	r.notDelivered("what comes after the session's end", r.answer(silent.sent))
}

// exchanged is a session by its last packets.
type exchanged struct {
	sent, received quoted
}

// talk makes a session in which both sides have spoken; one of TCP is established.
func (r *raw) talk(proto layers.IPProtocol, port uint16) exchanged {
	r.h.t.Helper()
	sent := r.sendQuoted(proto, port)
	e := exchanged{sent, r.getQuoted(sent)}
	if sent.inside.TCP != nil {
		ack := r.packet(proto, r.port(port), at(r.h.addr.peer, 7000), "")
		ack.TCP.Seq, ack.TCP.Ack = sent.inside.TCP.Seq+1, e.received.inside.TCP.Seq+1
		r.out("ACK", ack)
	}
	return e
}

// manyErrors sends errors about a session from both sides.
func (r *raw) manyErrors(e exchanged, n int) {
	r.h.t.Helper()
	v := r.h.icmp()
	kinds := []message{v.portUnreachable, v.hostUnreachable, v.timeExceeded}
	for i := range n {
		m := kinds[i%len(kinds)]
		r.sendIn(r.errorPacket(r.h.addr.router, r.h.addr.uplink, m, octets(e.sent.outside, everything)))
		r.sendOut(r.errorPacket(r.addr.String(), r.h.addr.peer, m, octets(e.received.inside, everything)))
	}
	r.fence()
}
