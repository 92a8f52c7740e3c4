// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// protocols6 are those that are translated.
var protocols6 = []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv6}

// new6 is packet.New with an echo request or reply for ICMPv6, whose identifier is the port of who asks.
func new6(proto layers.IPProtocol, e packet.Ends, reply bool, payload []byte) *packet.Packet {
	p := packet.New(proto, e, payload)
	if reply && p.ICMP != nil {
		p.ICMP.TypeCode = layers.CreateICMPv4TypeCode(layers.ICMPv6TypeEchoReply, 0)
		p.SetDestination(e.Destination)
	}
	return p
}

// translated6 is the frame after its source or destination has become another, one hop later.
func translated6(p *packet.Packet, to netip.AddrPort, source bool) []byte {
	if source {
		p.SetSource(to)
	} else {
		p.SetDestination(to)
	}
	p.IPv6.HopLimit--
	return p.Bytes()
}

// TestNAT66 translates a flow of each protocol out and back in, in each kind of mapping.
func TestNAT66(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		d := load(t, options{Mapping: m})
		remote := netip.AddrPortFrom(remoteAddr6, 443)
		for _, proto := range protocols6 {
			t.Run(proto.String(), func(t *testing.T) {
				const port = 21000
				outside := netip.AddrPortFrom(outsideAddr6, port)
				out := func() *packet.Packet { return new6(proto, d.sent(1, port, remote), false, []byte("payload")) }
				for range 2 {
					frame := out().Bytes()
					in := d.fromEndpoint(1, frame)
					d.expect(t, in, expectation{reason: bpf.DatapathReasonFORWARD_OUTSIDE, frame: translated6(out(), outside, true)})
				}
				back := func() *packet.Packet { return new6(proto, d.arrived(remote, port), true, []byte("answer")) }
				want := back()
				frame := translated6(want, netip.AddrPortFrom(d.endpoints[1].addr6, port), false)
				copy(frame, d.endpoints[1].mac[:])
				copy(frame[6:], gatewayMAC[:])
				d.expect(t, d.fromUplink(back().Bytes()), expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: frame, to: 1})
			})
		}
	})
}

// TestNAT66Unsolicited: nobody comes in who was not asked.
func TestNAT66Unsolicited(t *testing.T) {
	d := load(t, options{Mapping: independent})
	first := netip.AddrPortFrom(remoteAddr6, 53)
	d.expect(t, d.fromEndpoint(1, packet.New(layers.IPProtocolUDP, d.sent(1, 21000, first), nil).Bytes()),
		expectation{reason: bpf.DatapathReasonFORWARD_OUTSIDE,
			frame: translated6(packet.New(layers.IPProtocolUDP, d.sent(1, 21000, first), nil), netip.AddrPortFrom(outsideAddr6, 21000), true)})
	for name, ends := range map[string]packet.Ends{
		"another remote": d.arrived(netip.MustParseAddrPort("[2001:db8:7::8]:53"), 21000),
		"another port":   d.arrived(first, 21001),
	} {
		t.Run(name, func(t *testing.T) {
			d.expect(t, d.fromUplink(packet.New(layers.IPProtocolUDP, ends, nil).Bytes()), expectation{reason: bpf.DatapathReasonPASS_NO_SESSION})
		})
	}
	syn := packet.New(layers.IPProtocolTCP, d.arrived(first, 21000), nil)
	syn.TCP.SYN, syn.TCP.ACK = true, false
	d.expect(t, d.fromUplink(syn.Bytes()), expectation{reason: bpf.DatapathReasonDROP_UNSOLICITED})
}

// TestNAT66Ports: two endpoints with one source port get two outside ports, and the second is told apart.
func TestNAT66Ports(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		d := load(t, options{Mapping: m})
		remote := netip.AddrPortFrom(remoteAddr6, 53)
		for id := 1; id <= 2; id++ {
			_, frame := d.fromEndpoint(id, packet.New(layers.IPProtocolUDP, d.sent(id, 21000, remote), nil).Bytes()).run(t)
			port := uint16(frame[54])<<8 | uint16(frame[55])
			if (port == 21000) != (id == 1) || port < defaultFirst || port > defaultLast {
				t.Errorf("endpoint %d has outside port %d", id, port)
			}
			reply := packet.New(layers.IPProtocolUDP, d.arrived(remote, port), nil)
			want := packet.New(layers.IPProtocolUDP, d.arrived(remote, port), nil)
			inside := translated6(want, netip.AddrPortFrom(d.endpoints[id].addr6, 21000), false)
			copy(inside, d.endpoints[id].mac[:])
			copy(inside[6:], gatewayMAC[:])
			d.expect(t, d.fromUplink(reply.Bytes()), expectation{reason: bpf.DatapathReasonFORWARD_INSIDE, frame: inside, to: uint32(id)})
		}
	})
}
