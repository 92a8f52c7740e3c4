// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// routerAddr is a router on the path, which sends errors.
var routerAddr = netip.MustParseAddr("198.51.100.254")

// quote is what an error quotes of the packet: all of it up to size octets of IP.
func quote(p *packet.Packet, size int) []byte {
	b := p.Bytes()[14:]
	return b[:min(size, len(b))]
}

// message is an ICMP error of the type and code, with a right checksum.
func message(kind, code byte, rest uint32, quoted []byte) []byte {
	m := append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, quoted...)
	binary.BigEndian.PutUint32(m[4:], rest)
	padded := append([]byte{}, m...)
	if len(padded)%2 == 1 {
		padded = append(padded, 0)
	}
	binary.BigEndian.PutUint16(m[2:], checksum(padded))
	return m
}

// errorTo is an ICMP error from a router that arrives on the uplink.
func (d *datapath) errorTo(m []byte) *packet.Packet {
	e := d.arrived(netip.AddrPortFrom(routerAddr, 0), 0)
	return packet.IPv4(layers.IPProtocolICMPv4, e, m)
}

// outward is the packet of flow f as the outside has seen it; its transport checksum is one that an error leaves alone.
func (d *datapath) outward(f flow) *packet.Packet {
	p := packet.New(f.proto, f.out, []byte("payload"))
	p.SetSource(outside(f.port))
	p.IPv4.TTL--
	return p
}

// insideOut is what the inside has to see quoted: addresses and ports are its own, the transport checksum that of outside.
func (d *datapath) insideOut(f flow, quoted []byte) []byte {
	p := d.outward(f)
	p.SetSource(f.out.Source)
	own := quote(p, len(quoted))
	if at := checksumAt(f.proto) - 14; len(quoted) >= at+2 {
		copy(own[at:], quoted[at:at+2])
	}
	return own
}

// TestErrorIn: an error about a packet of a session reaches the endpoint, as if it were about the packet that the endpoint sent (RFC
// 5508 REQ-4), whoever sends it, with 8 octets behind the header and with more.
func TestErrorIn(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		d := load(t, options{Mapping: m})
		for _, proto := range protocols {
			f := d.open(t, proto, 1000)
			for _, kind := range [][2]byte{{3, 1}, {3, 3}, {3, 4}, {11, 0}, {12, 0}} {
				for _, size := range []int{28, 34, 200} {
					quoted := quote(d.outward(f), size)
					p := d.errorTo(message(kind[0], kind[1], 1400, quoted))
					in := d.fromUplink(p.Bytes())
					p.Payload = message(kind[0], kind[1], 1400, d.insideOut(f, quoted))
					want := d.translatedBack(f, *p)
					d.expect(t, in, expectation{reason: bpf.DatapathReasonFORWARD_ICMP_IN, frame: want, to: 1})
				}
			}
		}
		d.checkBijection(t)
	})
}

// TestErrorInRefused: what makes an error invalid (RFC 5508 REQ-3), and those about nothing.
func TestErrorInRefused(t *testing.T) {
	d := load(t, options{})
	f := d.open(t, layers.IPProtocolUDP, 1000)
	quoted := quote(d.outward(f), 28)
	change := func(at int, m []byte) []byte {
		m[at] ^= 0x55
		return m
	}
	rows := []struct {
		name    string
		message []byte
		want    bpf.DatapathReason
	}{
		{"wrong checksum", change(2, message(3, 3, 0, quoted)), bpf.DatapathReasonDROP_CHECKSUM},
		{"changed behind what is translated", change(len(message(3, 3, 0, quoted))-1, message(3, 3, 0, quoted)), bpf.DatapathReasonDROP_CHECKSUM},
		{"wrong quoted checksum", message(3, 3, 0, change(10, append([]byte{}, quoted...))), bpf.DatapathReasonDROP_CHECKSUM},
		{"another port", message(3, 3, 0, change(21, append([]byte{}, quoted...))), bpf.DatapathReasonPASS_NO_SESSION},
		{"quotation too short", message(3, 3, 0, quoted[:24]), bpf.DatapathReasonPASS_NO_SESSION},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d.expect(t, d.fromUplink(d.errorTo(row.message).Bytes()), expectation{reason: row.want})
		})
	}
}

// TestErrorOut: an error of an endpoint about a reply leaves as if the outside address complained (RFC 5508 REQ-5).
func TestErrorOut(t *testing.T) {
	d := load(t, options{Mapping: independent})
	f := d.open(t, layers.IPProtocolUDP, 1000)
	got := d.reply(f)
	got.SetDestination(f.out.Source)
	seen := d.reply(f)
	quoted, wanted := quote(got, 28), quote(seen, 28)
	copy(wanted[26:28], quoted[26:28]) // the transport checksum is left
	p := d.routedByStack(layers.IPProtocolICMPv4, 0)
	p = packet.IPv4(layers.IPProtocolICMPv4, packet.Ends{
		SourceMAC: packet.MAC(p.Ethernet.SrcMAC), DestinationMAC: packet.MAC(p.Ethernet.DstMAC),
		Source: netip.AddrPortFrom(d.endpoints[1].addr, 0), Destination: netip.AddrPortFrom(remoteAddr, 0),
	}, message(3, 3, 0, quoted))
	in := d.toUplink(1, p.Bytes())
	p.Payload = message(3, 3, 0, wanted)
	p.IPv4.SrcIP = outsideAddr.AsSlice()
	d.expect(t, in, expectation{reason: bpf.DatapathReasonPASS_TO_UPLINK, frame: p.Bytes()})
}

// TestErrorHairpin: an error of one endpoint about another's packet that came by an outside port (RFC 5508 REQ-7).
func TestErrorHairpin(t *testing.T) {
	d := load(t, options{Mapping: independent})
	const proto = layers.IPProtocolUDP
	there := d.masquerade(t, 2, proto, d.sent(2, 5000, remote(443)), nil)
	e := d.sent(1, 4000, outside(there))
	d.fromEndpoint(1, packet.New(proto, e, nil).Bytes()).run(t)
	here := be16(d.session(t, keyOf(proto, e)).OutsidePort)
	d.hairpin(t, proto, 2, 5000, here, 1, 4000)

	between := func(source, destination netip.AddrPort) []byte {
		p := packet.New(proto, e, []byte("payload"))
		p.SetSource(source)
		p.SetDestination(destination)
		b := quote(p, 28)
		b[26], b[27] = 0, 0
		return b
	}
	at1, at2 := netip.AddrPortFrom(d.endpoints[1].addr, 4000), netip.AddrPortFrom(d.endpoints[2].addr, 5000)
	p := packet.IPv4(layers.IPProtocolICMPv4, packet.Ends{
		SourceMAC: d.endpoints[2].mac, DestinationMAC: gatewayMAC,
		Source: netip.AddrPortFrom(at2.Addr(), 0), Destination: netip.AddrPortFrom(outsideAddr, 0),
	}, message(3, 3, 0, between(outside(here), at2)))
	in := d.fromEndpoint(2, p.Bytes())
	p.Payload = message(3, 3, 0, between(at1, outside(there)))
	p.IPv4.SrcIP, p.IPv4.DstIP = outsideAddr.AsSlice(), at1.Addr().AsSlice()
	p.IPv4.TTL--
	p.Ethernet.SrcMAC, p.Ethernet.DstMAC = gatewayMAC[:], d.endpoints[1].mac[:]
	d.expect(t, in, expectation{reason: bpf.DatapathReasonFORWARD_HAIRPIN, frame: p.Bytes(), to: 1})
}

// TestErrorInPadding: a quotation ends where the packet ends. What comes behind it in the frame is padding, and an error that has
// only half of the 8 octets that it must have is about nothing (RFC 792).
func TestErrorInPadding(t *testing.T) {
	d := load(t, options{})
	for _, proto := range protocols {
		f := d.open(t, proto, 1000)
		quoted := quote(d.outward(f), 28)
		frame := d.errorTo(message(3, 3, 0, quoted[:24])).Bytes()
		d.expect(t, d.fromUplink(append(frame, quoted[24:]...)), expectation{reason: bpf.DatapathReasonPASS_NO_SESSION})
	}
}

// TestErrorInToHost: an error about a session of the host itself, from its address on the network, is translated back and the
// stack's, as its replies are.
func TestErrorInToHost(t *testing.T) {
	overMappings(t, func(t *testing.T, m mapping) {
		d := load(t, options{Mapping: m})
		put(t, d.FoNeighbours4, bpf.DatapathNeighbourKey{Network: masqueraded, Addr: gatewayAddr.As4()},
			bpf.DatapathNeighbourEntry{Mac: gatewayMAC, Ifindex: d.bridge})
		p := d.routedByStack(layers.IPProtocolUDP, 21000)
		p.SetSource(netip.AddrPortFrom(gatewayAddr, 21000))
		own := quote(p, 28)
		if action, _ := d.toUplink(0, p.Bytes()).run(t); action != actions[bpf.Pass] {
			t.Fatalf("action %d", action)
		}
		p.SetSource(outside(21000))
		seen := quote(p, 28)
		copy(own[26:28], seen[26:28]) // the transport checksum is left
		e := d.errorTo(message(3, 4, 1400, seen))
		in := d.fromUplink(e.Bytes())
		e.Payload, e.IPv4.DstIP = message(3, 4, 1400, own), gatewayAddr.AsSlice()
		d.expect(t, in, expectation{reason: bpf.DatapathReasonPASS_HOST, frame: e.Bytes()})
	})
}
