// SPDX-License-Identifier: Apache-2.0

package packet_test

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

var ends = packet.Ends{
	SourceMAC:      packet.MAC{2, 0, 0, 0, 0, 1},
	DestinationMAC: packet.MAC{2, 0, 0, 0, 0, 2},
	Source:         netip.MustParseAddrPort("192.0.2.1:1000"),
	Destination:    netip.MustParseAddrPort("198.51.100.2:2000"),
}

var ends6 = packet.Ends{
	SourceMAC:      packet.MAC{2, 0, 0, 0, 0, 1},
	DestinationMAC: packet.MAC{2, 0, 0, 0, 0, 2},
	Source:         netip.MustParseAddrPort("[2001:db8::1]:1000"),
	Destination:    netip.MustParseAddrPort("[2001:db8::2]:2000"),
}

// sum is the ones' complement sum of RFC 1071.
func sum(octets ...byte) uint16 {
	var s uint32
	for i, b := range octets {
		s += uint32(b) << (8 * (1 - i%2))
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// TestChecksums judges by another rule than the one that made them: a right checksum makes all of it sum up to all ones.
func TestChecksums(t *testing.T) {
	for _, proto := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv4} {
		for size := range 5 {
			frame := packet.New(proto, ends, make([]byte, size)).Bytes()
			ip, l4 := frame[14:34], frame[34:]
			if got := sum(ip...); got != 0xffff {
				t.Errorf("%v, %d octets: IP header sums up to %04x", proto, size, got)
			}
			pseudo := append(append([]byte{}, ip[12:20]...), 0, byte(proto), 0, byte(len(l4)))
			if proto == layers.IPProtocolICMPv4 {
				pseudo = nil
			}
			if got := sum(append(pseudo, l4...)...); got != 0xffff {
				t.Errorf("%v, %d octets: transport sums up to %04x", proto, size, got)
			}
		}
	}
}

// TestChecksums6 is TestChecksums behind IPv6, where ICMP has a pseudo header, too.
func TestChecksums6(t *testing.T) {
	for _, proto := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv6} {
		for size := range 5 {
			frame := packet.New(proto, ends6, make([]byte, size)).Bytes()
			addrs, l4 := frame[22:54], frame[54:]
			pseudo := append(append([]byte{}, addrs...), 0, byte(proto), 0, byte(len(l4)))
			if got := sum(append(pseudo, l4...)...); got != 0xffff {
				t.Errorf("%v, %d octets: transport sums up to %04x", proto, size, got)
			}
		}
	}
}

func TestUDPChecksumZero(t *testing.T) {
	p := packet.New(layers.IPProtocolUDP, ends, []byte{0, 0})
	field := func() [2]byte { return [2]byte(p.Bytes()[40:42]) }
	without := field()
	p.Payload = without[:]
	if got := field(); got != [2]byte{0xff, 0xff} {
		t.Errorf("a sum of zero is sent as %x, want all ones", got)
	}
	p.NoChecksum = true
	if got := field(); got != [2]byte{} {
		t.Errorf("no checksum is sent as %x, want zero", got)
	}
}

func TestARPRequest(t *testing.T) {
	got := packet.ARPRequest(ends.SourceMAC, ends.Source.Addr(), ends.Destination.Addr()).Bytes()
	const want = "ffffffffffff0200000000010806" + "0001080006040001" + "020000000001c0000201" + "000000000000c6336402"
	if hex.EncodeToString(got) != want {
		t.Errorf("got\n%s, want\n%s", packet.Text(got), want)
	}
}

func TestDiff(t *testing.T) {
	a := packet.New(layers.IPProtocolTCP, ends, nil)
	if d := packet.Diff(a.Bytes(), a.Bytes()); d != "" {
		t.Errorf("equal frames differ: %s", d)
	}
	b := packet.New(layers.IPProtocolTCP, ends, nil)
	b.IPv4.TTL--
	if packet.Diff(a.Bytes(), b.Bytes()) == "" {
		t.Error("frames with another TTL are equal")
	}
}
