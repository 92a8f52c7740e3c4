// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/bpf"
	"flyover/test/packet"
)

// refuse sends the frame of endpoint id, which is to be refused: dropped, and answered by ICMP 3/13 (RFC 5508 REQ-8). The next one
// comes too soon to be answered.
func (d *datapath) refuse(t testing.TB, id int, reason bpf.DatapathReason, frame []byte) {
	t.Helper()
	d.allowAnswers(t, id, 1)
	d.expect(t, d.fromEndpoint(id, frame), expectation{reason: reason, frame: d.refusal(id, frame)})
	d.allowAnswers(t, id, 0) // so it is by now, unless the machine is slow
	d.expect(t, d.fromEndpoint(id, frame), expectation{reason: reason})
}

// allowAnswers lets endpoint id have so many answers, and no other at once.
func (d *datapath) allowAnswers(t testing.TB, id int, answers uint32) {
	t.Helper()
	var u bpf.DatapathUsageEntry
	if err := d.FoUsage.Lookup(uint32(id), &u); err != nil {
		t.Fatal(err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now); err != nil {
		t.Fatal(err)
	}
	u.Answers.At, u.Answers.Level = uint32(now.Nano()/1e6), 1000*answers
	put(t, d.FoUsage, uint32(id), u)
}

// refusal is the answer to the frame: it quotes the TCP header, or the first 8 octets of another.
func (d *datapath) refusal(id int, frame []byte) []byte {
	quoted := 20 + 8
	if frame[23] == byte(layers.IPProtocolTCP) {
		quoted = 20 + 20
	}
	message := append([]byte{3, 13, 0, 0, 0, 0, 0, 0}, frame[14:14+quoted]...)
	binary.BigEndian.PutUint16(message[2:], checksum(message))
	p := packet.IPv4(layers.IPProtocolICMPv4, packet.Ends{
		SourceMAC: gatewayMAC, DestinationMAC: d.endpoints[id].mac,
		Source: netip.AddrPortFrom(gatewayAddr, 0), Destination: netip.AddrPortFrom(d.endpoints[id].addr, 0),
	}, message)
	p.IPv4.TTL, p.IPv4.TOS, p.IPv4.Id = 64, 0xc0, 0
	return p.Bytes()
}

// checksum is the Internet checksum of octets that are even in number (RFC 1071).
func checksum(data []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// TestRefusal: every kind of packet that finds no port is answered, but an ICMP error or anything with options.
func TestRefusal(t *testing.T) {
	d := load(t, options{Ports: [2]uint16{40000, 40000}})
	for _, proto := range protocols {
		d.open(t, proto, 1000)
		for _, payload := range [][]byte{nil, []byte("x"), make([]byte, 1200)} {
			d.refuse(t, 1, bpf.DatapathReasonDROP_NO_PORT, packet.New(proto, d.sent(1, 9, remote(443)), payload).Bytes())
		}
	}
}

// TestLimits: an endpoint takes as much as its limits let it, its neighbour is none the worse, and what has expired does not
// count.
func TestLimits(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		const most = 5
		d := load(t, options{Mapping: m, Limits: limits{sessions: most}})
		var flows []flow
		for n := range uint16(most) {
			flows = append(flows, d.open(t, layers.IPProtocolUDP, 1000+n))
		}
		next := d.sent(1, 2000, remote(443))
		d.refuse(t, 1, bpf.DatapathReasonDROP_LIMIT_SESSIONS, packet.New(layers.IPProtocolUDP, next, nil).Bytes())
		d.masquerade(t, 2, layers.IPProtocolUDP, d.sent(2, 1000, remote(443)), nil)
		d.masquerade(t, 1, layers.IPProtocolUDP, flows[0].out, nil) // what it has goes on
		d.age(t, flows[3].key(), 301)
		d.masquerade(t, 1, layers.IPProtocolUDP, next, nil)
		d.checkBijection(t)
		d.checkTokens(t)
	})
}

func TestLimitOfMappings(t *testing.T) {
	d := load(t, options{Mapping: independent, Limits: limits{mappings: 2}})
	d.masquerade(t, 1, layers.IPProtocolUDP, d.sent(1, 1000, remote(1)), nil)
	d.masquerade(t, 1, layers.IPProtocolUDP, d.sent(1, 1001, remote(1)), nil)
	d.masquerade(t, 1, layers.IPProtocolUDP, d.sent(1, 1001, remote(2)), nil)
	third := packet.New(layers.IPProtocolUDP, d.sent(1, 1002, remote(1)), nil).Bytes()
	d.refuse(t, 1, bpf.DatapathReasonDROP_LIMIT_MAPPINGS, third)
	d.masquerade(t, 2, layers.IPProtocolUDP, d.sent(2, 1000, remote(1)), nil)
	d.checkBijection(t)
}

// TestLimitOfRate: of many new sessions at once the burst is made, and the rest is refused.
func TestLimitOfRate(t *testing.T) {
	d := load(t, options{Limits: limits{rate: 1, burst: 7}})
	made := 0
	for n := range uint16(50) {
		frame := packet.New(layers.IPProtocolUDP, d.sent(1, 1000+n, remote(1)), nil).Bytes()
		if action, _ := d.fromEndpoint(1, frame).run(t); action == actions[bpf.Forward] {
			made++
		}
	}
	if made < 7 || made > 8 { // a second may have passed
		t.Errorf("%d sessions made, want the burst of 7", made)
	}
	d.refuse(t, 1, bpf.DatapathReasonDROP_LIMIT_RATE, packet.New(layers.IPProtocolUDP, d.sent(1, 9, remote(1)), nil).Bytes())
	d.checkBijection(t)
}
