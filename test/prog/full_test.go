// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// TestTableFull: a full table refuses new sessions and harms none that it has; what has ended makes room for new ones.
func TestTableFull(t *testing.T) {
	const size = 64
	d := load(t, options{Sessions: size})
	var flows []flow
	for port := range uint16(size) {
		flows = append(flows, d.open(t, layers.IPProtocolUDP, 1000+port))
	}
	refused := func(port uint16) {
		t.Helper()
		frame := packet.New(layers.IPProtocolUDP, d.sent(2, port, remote(443)), nil).Bytes()
		d.refuse(t, 2, bpf.DatapathReasonDROP_SESSIONS_FULL, frame)
	}
	for port := range uint16(3 * size) {
		refused(2000 + port)
	}
	d.checkBijection(t)
	for _, f := range flows {
		d.expect(t, d.fromUplink(d.reply(f).Bytes()), expectation{
			reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *d.reply(f)), to: 1})
		if port := d.masquerade(t, 1, f.proto, f.out, nil); port != f.port {
			t.Errorf("port %d, had %d", port, f.port)
		}
	}
	for i, f := range flows {
		d.age(t, f.key(), 301)
		d.insist(t, d.sent(2, 5000+uint16(i), remote(443)), size)
		refused(1)
	}
	refused(1)
	if n := d.count(t); n != size {
		t.Errorf("%d sessions, want %d", n, size)
	}
	d.checkBijection(t)
	d.checkTokens(t)
}

// insist sends the first packet of a session until there is one. Each try looks at some sessions for one that is over, so that
// as many tries as there are sessions are more than enough.
func (d *datapath) insist(t testing.TB, e packet.Ends, tries int) {
	t.Helper()
	frame := packet.New(layers.IPProtocolUDP, e, nil).Bytes()
	for range tries {
		if action, _ := d.fromEndpoint(2, frame).run(t); action == actions[bpf.Forward] {
			d.masquerade(t, 2, layers.IPProtocolUDP, e, nil)
			return
		}
	}
	t.Errorf("no session after %d tries", tries)
}

// TestCollectKeepsPace: sessions that have ended leave the table as new ones are made, before it is full.
func TestCollectKeepsPace(t *testing.T) {
	const size = 256
	d := load(t, options{Sessions: size})
	for port := range uint16(size / 4) {
		d.age(t, d.open(t, layers.IPProtocolUDP, 1000+port).key(), 300+portHold+1)
	}
	for port := range uint16(size / 4) {
		d.open(t, layers.IPProtocolUDP, 5000+port)
	}
	sessions, replies := entries[sessionKey, sessionEntry](t, d.FoSessions4), entries[replyKey, replyEntry](t, d.FoReplies4)
	if len(sessions) > size/4+1 || len(replies) != len(sessions) {
		t.Errorf("%d sessions and %d index entries are left, want about %d", len(sessions), len(replies), size/4)
	}
	d.checkBijection(t)
	d.checkTokens(t)
}
