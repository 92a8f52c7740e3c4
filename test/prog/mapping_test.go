// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

var remotes = []netip.AddrPort{
	netip.MustParseAddrPort("198.51.100.7:443"),
	netip.MustParseAddrPort("198.51.100.7:444"),
	netip.MustParseAddrPort("198.51.100.8:443"),
}

// TestMappingIndependent: an inside port has one outside port, whatever the remote, and no other inside has the same (RFC 4787
// REQ-1 and REQ-3, RFC 5382 REQ-1 and REQ-7, RFC 5508 REQ-1).
func TestMappingIndependent(t *testing.T) {
	for _, m := range []mapping{independent, openFilter} {
		for _, proto := range protocols {
			t.Run(m.String()+" "+proto.String(), func(t *testing.T) {
				d := load(t, options{Mapping: m})
				owners := map[uint16]netip.AddrPort{}
				for _, inside := range []uint16{1000, 1001, defaultFirst + 3} {
					for id := 1; id <= 2; id++ {
						first := uint16(0)
						for i, to := range remotes {
							e := d.sent(id, inside, to)
							port := d.masquerade(t, id, proto, e, nil)
							if i == 0 {
								first = port
							}
							if port != first {
								t.Errorf("%v has outside port %d towards %v, %d towards %v", e.Source, first, remotes[0], port, to)
							}
							if owner, taken := owners[port]; taken && owner != e.Source {
								t.Errorf("port %d is %v's and %v's", port, owner, e.Source)
							}
							owners[port] = e.Source
						}
						d.checkBijection(t)
					}
				}
				if len(owners) != 6 {
					t.Errorf("%d outside ports for 6 inside ports", len(owners))
				}
				d.checkTokens(t)
			})
		}
	}
}

// TestMappingFull: when all ports are taken by mappings, the next inside is refused, and those that have one may talk to anybody.
func TestMappingFull(t *testing.T) {
	d := load(t, options{Mapping: independent, Ports: [2]uint16{40000, 40002}})
	flows := d.fillRange(t, layers.IPProtocolUDP)
	refused := d.sent(2, 9, netip.MustParseAddrPort("198.51.100.99:1"))
	frame := packet.New(layers.IPProtocolUDP, refused, nil).Bytes()
	d.refuse(t, 2, bpf.DatapathReasonDROP_NO_PORT, frame)
	for _, f := range flows {
		for _, to := range remotes {
			e := f.out
			e.Destination = to
			if port := d.masquerade(t, 1, f.proto, e, nil); port != f.port {
				t.Errorf("port %d towards %v, has %d", port, to, f.port)
			}
		}
	}
	d.checkBijection(t)
	for _, to := range remotes { // the mapping goes with its last session
		e := flows[1].out
		e.Destination = to
		d.age(t, keyOf(layers.IPProtocolUDP, e), 300+portHold+1)
	}
	if port := d.masquerade(t, 2, layers.IPProtocolUDP, refused, nil); port != flows[1].port {
		t.Errorf("port %d, want %d, the one that is free", port, flows[1].port)
	}
	d.checkBijection(t)
	d.checkTokens(t)
}

// TestFilter: who may send to a port that stands for an inside (RFC 4787 REQ-8).
func TestFilter(t *testing.T) {
	known, sameAddress, stranger := remotes[0], remotes[1], remotes[2]
	rows := []struct {
		m       mapping
		from    netip.AddrPort
		reaches bool
	}{
		{dependent, known, true}, {dependent, sameAddress, false}, {dependent, stranger, false},
		{independent, known, true}, {independent, sameAddress, true}, {independent, stranger, false},
		{openFilter, known, true}, {openFilter, sameAddress, true}, {openFilter, stranger, true},
	}
	for _, row := range rows {
		t.Run(row.m.String()+" "+row.from.String(), func(t *testing.T) {
			d := load(t, options{Mapping: row.m})
			f := flow{layers.IPProtocolUDP, d.sent(1, 1000, known), 0}
			f.port = d.masquerade(t, 1, f.proto, f.out, nil)
			f.out.Destination = row.from
			p := d.reply(f)
			in := d.fromUplink(p.Bytes())
			want := expectation{reason: bpf.DatapathReasonPASS_NO_SESSION}
			if row.reaches {
				want = expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *p), to: 1}
			}
			d.expect(t, in, want)
			d.checkBijection(t)
		})
	}
}

// TestFilterTCP: to a port of the translation a SYN of a stranger is dropped in silence (RFC 5382 REQ-4), and so is one to a port
// that is nobody's; one that the filter lets in reaches the inside, and nothing else that begins no connection.
func TestFilterTCP(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		d := load(t, options{Mapping: m})
		f := flow{layers.IPProtocolTCP, d.sent(1, 1000, remotes[0]), 0}
		f.port = d.masquerade(t, 1, f.proto, f.out, nil)
		for i, from := range remotes[1:] {
			f.out.Destination = from
			syn := d.reply(f)
			withFlags("SYN", true)(syn)
			in := d.fromUplink(syn.Bytes())
			want := expectation{reason: bpf.DatapathReasonDROP_UNSOLICITED}
			if m == openFilter || m == independent && i == 0 {
				want = expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *syn), to: 1}
			}
			d.expect(t, in, want)
			d.expect(t, d.fromUplink(d.reply(f).Bytes()), expectation{reason: bpf.DatapathReasonPASS_NO_SESSION})
		}
		nobody := f
		nobody.port = defaultLast - 1
		syn := d.reply(nobody)
		withFlags("SYN", true)(syn)
		d.expect(t, d.fromUplink(syn.Bytes()), expectation{reason: bpf.DatapathReasonDROP_UNSOLICITED})
		nobody.port = defaultFirst - 1 // not the translation's: the host answers
		syn = d.reply(nobody)
		withFlags("SYN", true)(syn)
		d.expect(t, d.fromUplink(syn.Bytes()), expectation{reason: bpf.DatapathReasonPASS_NO_SESSION})
		d.checkBijection(t)
	})
}

// TestMappingRevived: an inside that comes back after its session has expired has its port again, as long as nobody needed it.
func TestMappingRevived(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		d := load(t, options{Mapping: m})
		f := d.open(t, layers.IPProtocolUDP, 1000)
		d.age(t, f.key(), 301)
		d.expect(t, d.fromUplink(d.reply(f).Bytes()), expectation{reason: bpf.DatapathReasonPASS_NO_SESSION})
		if port := d.masquerade(t, 1, f.proto, f.out, nil); port != f.port {
			t.Errorf("port %d, had %d", port, f.port)
		}
		p := d.reply(f)
		d.expect(t, d.fromUplink(p.Bytes()), expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: d.translatedBack(f, *p), to: 1})
		d.checkBijection(t)
		d.checkTokens(t)
	})
}

// TestMappingsOfClosed: what has closed properly makes room when something runs out: short connections do not use up the ports.
func TestMappingsOfClosed(t *testing.T) {
	rows := []options{
		{Mapping: independent, Limits: limits{mappings: 3}},
		{Mapping: independent, Ports: [2]uint16{40000, 40002}},
		{Mapping: dependent, Ports: [2]uint16{40000, 40002}},
		{Mapping: dependent, Limits: limits{sessions: 3}},
	}
	for _, opts := range rows {
		d := load(t, opts)
		for n := range uint16(50) {
			f := flow{proto: layers.IPProtocolTCP, out: d.sent(1, 1000+n, remotes[0])}
			d.takeAll(t, &f, append(append([]step{}, handshake...),
				step{"out", "FIN ACK", finOut}, step{"in", "FIN ACK", lastOut}, step{"out", "ACK", closed}))
		}
		d.checkTokens(t)
	}
}

// TestClosedLeavesOthersOpen: a mapping's connection that has closed does not shut out what is about another of the same remote.
func TestClosedLeavesOthersOpen(t *testing.T) {
	for _, m := range []mapping{independent, openFilter} {
		t.Run(m.String(), func(t *testing.T) {
			d := load(t, options{Mapping: m})
			stays := flow{proto: layers.IPProtocolTCP, out: d.sent(1, 1000, remote(443))}
			ends := flow{proto: layers.IPProtocolTCP, out: d.sent(1, 1000, remote(444))}
			d.takeAll(t, &stays, handshake)
			d.takeAll(t, &ends, append(append([]step{}, handshake...), step{"in", "RST", closed}))
			d.age(t, stays.key(), 11) // more than a closed one lasts
			quoted := quote(d.outward(stays), 28)
			p := d.errorTo(message(3, 4, 1400, quoted))
			in := d.fromUplink(p.Bytes())
			p.Payload = message(3, 4, 1400, d.insideOut(stays, quoted))
			d.expect(t, in, expectation{reason: bpf.DatapathReasonFORWARD_ICMP_IN, frame: d.translatedBack(stays, *p), to: 1})
		})
	}
}
