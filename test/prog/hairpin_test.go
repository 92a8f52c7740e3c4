// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// hairpin sends a packet of endpoint from to an outside port, behind which the inside of endpoint to is, and expects it there, from
// the sender's outside port, which is returned.
func (d *datapath) hairpin(t *testing.T, proto layers.IPProtocol, from int, inside uint16, port uint16, to int, owner uint16) uint16 {
	t.Helper()
	e := d.sent(from, inside, outside(port))
	p := packet.New(proto, e, []byte("payload"))
	if p.TCP != nil {
		withFlags("SYN", false)(p)
	}
	in := d.fromEndpoint(from, p.Bytes())
	before := d.counters(t)
	action, frame := in.run(t)
	mine := be16(d.session(t, keyOf(proto, e)).OutsidePort)
	p.SetSource(outside(mine))
	p.SetDestination(netip.AddrPortFrom(d.endpoints[to].addr, owner))
	p.IPv4.TTL--
	p.Ethernet.SrcMAC, p.Ethernet.DstMAC = gatewayMAC[:], d.endpoints[to].mac[:]
	d.compare(t, in, expectation{reason: bpf.DatapathReasonFORWARD_HAIRPIN, frame: p.Bytes(), to: uint32(to)},
		action, frame, d.counters(t).since(before))
	return mine
}

// TestHairpin: one endpoint reaches another by its outside port, and is seen by its own (RFC 4787 REQ-9, RFC 5382 REQ-8).
func TestHairpin(t *testing.T) {
	for _, proto := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP} {
		t.Run(proto.String(), func(t *testing.T) {
			d := load(t, options{Mapping: openFilter})
			there := d.masquerade(t, 2, proto, d.sent(2, 5000, remote(443)), nil)
			here := d.hairpin(t, proto, 1, 4000, there, 2, 5000)
			if back := d.hairpin(t, proto, 2, 5000, here, 1, 4000); back != there {
				t.Errorf("the answer comes from port %d, want %d", back, there)
			}
			if again := d.hairpin(t, proto, 1, 4000, there, 2, 5000); again != here {
				t.Errorf("the second packet comes from port %d, the first did from %d", again, here)
			}
			d.hairpin(t, proto, 1, 4000, here, 1, 4000) // to itself
			d.checkBijection(t)
			d.checkTokens(t)
		})
	}
}

// TestHairpinFilter: the filter is the same as for what comes from outside.
func TestHairpinFilter(t *testing.T) {
	d := load(t, options{Mapping: independent})
	const proto = layers.IPProtocolUDP
	there := d.masquerade(t, 2, proto, d.sent(2, 5000, remote(443)), nil)
	e := d.sent(1, 4000, outside(there))
	frame := packet.New(proto, e, nil).Bytes()
	if action, _ := d.fromEndpoint(1, frame).run(t); action != actions[bpf.Drop] {
		t.Errorf("action %d, want the packet of a stranger dropped", action)
	}
	here := be16(d.session(t, keyOf(proto, e)).OutsidePort)
	d.hairpin(t, proto, 2, 5000, here, 1, 4000) // 1 has sent to this address, so 2 may answer
	d.hairpin(t, proto, 1, 4000, there, 2, 5000)
	d.checkBijection(t)
}

// TestHairpinToHost: a port of the host's own, or nobody's, is the host's business.
func TestHairpinToHost(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		d := load(t, options{Mapping: m})
		for _, proto := range protocols {
			frame := packet.New(proto, d.sent(1, 4000, outside(defaultLast-1)), nil).Bytes()
			d.expect(t, d.fromEndpoint(1, frame), expectation{reason: bpf.DatapathReasonPASS_HOST})
		}
		if n := d.count(t); n != 0 {
			t.Errorf("%d sessions, want none", n)
		}
	})
}
