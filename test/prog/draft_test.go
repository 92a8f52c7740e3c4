// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"flyover/test/packet"
)

// draft is a frame to be, field by field: what package packet refuses to build can be had, and a million of them in no time.
type draft struct {
	to, from  packet.MAC
	etherType uint16
	ttl       uint8
	proto     uint8
	id        uint32 // of IPv4 16 bits
	fragment  uint16 // flags and offset
	src, dst  netip.Addr
	options   []byte // of IPv4, a multiple of 4 octets
	// Extension headers of IPv6, and those behind the fragment header, which only a first fragment has.
	chain, inner []extensionHeader
	body         []byte
}

// extensionHeader is one of so many times 8 octets. A routing header of 0 words is one of type 0, and has one.
type extensionHeader struct {
	kind  uint8
	words int
}

// sizeOf is how many octets the headers have.
func sizeOf(chain []extensionHeader) int {
	n := 0
	for _, x := range chain {
		n += 8 * max(1, x.words)
	}
	return n
}

// headers is how many octets of IP there are before the body.
func (d draft) headers() int {
	switch {
	case !d.src.Is6():
		return 20 + len(d.options)
	case d.fragment != 0:
		return 40 + sizeOf(d.chain) + 8 + sizeOf(d.inner)
	}
	return 40 + sizeOf(d.chain)
}

// frame6 is the draft as a packet of IPv6, behind the Ethernet header f.
func (d draft) frame6(f []byte) []byte {
	all := slices.Clone(d.chain)
	if d.fragment != 0 {
		all = append(append(all, extensionHeader{44, 1}), d.inner...)
	}
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(sizeOf(all)+len(d.body)))
	next := len(f)
	f = append(f, 0, d.ttl)
	f = append(append(f, d.src.AsSlice()...), d.dst.AsSlice()...)
	for _, x := range all {
		f[next] = x.kind
		next = len(f)
		header := make([]byte, 8*max(1, x.words))
		switch x.kind {
		case 44:
			binary.BigEndian.PutUint16(header[2:], d.fragment<<3|d.fragment>>13)
			binary.BigEndian.PutUint32(header[4:], d.id)
		case 51:
			header[1] = uint8(2*x.words - 2)
		default:
			header[1], header[2] = uint8(len(header)/8-1), uint8(x.words)
		}
		f = append(f, header...)
	}
	f[next] = d.proto
	return append(f, d.body...)
}

// frame is the draft on the wire, with a right header checksum.
func (d draft) frame() []byte {
	f := make([]byte, 14, 14+60+len(d.body)+64+sizeOf(d.chain))
	copy(f, d.to[:])
	copy(f[6:], d.from[:])
	binary.BigEndian.PutUint16(f[12:], d.etherType)
	if d.src.Is6() {
		return d.frame6(f)
	}
	header := d.headers()
	f = append(f, byte(0x40|header/4), 0)
	f = binary.BigEndian.AppendUint16(f, uint16(header+len(d.body)))
	f = binary.BigEndian.AppendUint16(f, uint16(d.id))
	f = binary.BigEndian.AppendUint16(f, d.fragment)
	f = append(f, d.ttl, d.proto, 0, 0)
	src, dst := d.src.As4(), d.dst.As4()
	f = append(append(append(f, src[:]...), dst[:]...), d.options...)
	binary.BigEndian.PutUint16(f[24:], checksum(f[14:14+header]))
	return append(f, d.body...)
}

// sumOf is checksum for any number of octets.
func sumOf(parts ...[]byte) uint16 {
	var all []byte
	for _, part := range parts {
		all = append(all, part...)
	}
	if len(all)%2 == 1 {
		all = append(all, 0)
	}
	return checksum(all)
}

// setBody gives the draft a transport header and payload, whose checksum is at the offset and covers the pseudo-header.
func (d *draft) setBody(proto uint8, checkAt int, body []byte) {
	d.proto, d.body = proto, body
	addresses := append(d.src.AsSlice(), d.dst.AsSlice()...)
	pseudo := append(addresses, 0, proto, byte(len(body)>>8), byte(len(body)))
	binary.BigEndian.PutUint16(body[checkAt:], sumOf(pseudo, body))
}

func (d *draft) tcp(sport, dport uint16, flags uint8, seq, ack uint32, payload []byte) {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, 5<<4, flags, 2, 0, 0, 0, 0, 0)
	d.setBody(6, 16, append(b, payload...))
}

func (d *draft) udp(sport, dport uint16, payload []byte) {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	d.setBody(17, 6, append(append(b, 0, 0), payload...))
	if d.body[6] == 0 && d.body[7] == 0 {
		d.body[6], d.body[7] = 0xff, 0xff
	}
}

func (d *draft) icmp(kind, code uint8, rest uint32, payload []byte) {
	b := binary.BigEndian.AppendUint32([]byte{kind, code, 0, 0}, rest)
	if d.src.Is6() {
		d.setBody(58, 2, append(b, payload...))
		return
	}
	d.proto, d.body = 1, append(b, payload...)
	binary.BigEndian.PutUint16(d.body[2:], sumOf(d.body))
}

// mend gives the frame a right IPv4 header checksum, as far as there is such a header.
func mend(frame []byte) {
	if len(frame) < 34 {
		return
	}
	end := 14 + int(frame[14]&15)*4
	if end < 34 || end > len(frame) {
		return
	}
	frame[24], frame[25] = 0, 0
	binary.BigEndian.PutUint16(frame[24:], checksum(frame[14:end]))
}
