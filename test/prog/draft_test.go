// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net/netip"

	"flyover/test/packet"
)

// draft is a frame to be, field by field: what package packet refuses to build can be had, and a million of them in no time.
type draft struct {
	to, from  packet.MAC
	etherType uint16
	ttl       uint8
	proto     uint8
	id        uint16
	fragment  uint16 // flags and offset
	src, dst  netip.Addr
	options   []byte // a multiple of 4 octets
	body      []byte
}

// frame is the draft on the wire, with a right header checksum.
func (d draft) frame() []byte {
	f := make([]byte, 14, 14+60+len(d.body)+64)
	copy(f, d.to[:])
	copy(f[6:], d.from[:])
	binary.BigEndian.PutUint16(f[12:], d.etherType)
	header := 20 + len(d.options)
	f = append(f, byte(0x40|header/4), 0)
	f = binary.BigEndian.AppendUint16(f, uint16(header+len(d.body)))
	f = binary.BigEndian.AppendUint16(f, d.id)
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
	src, dst := d.src.As4(), d.dst.As4()
	pseudo := append(append(src[:], dst[:]...), 0, proto, byte(len(body)>>8), byte(len(body)))
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
