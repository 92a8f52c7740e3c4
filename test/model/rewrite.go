// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// sum is the one's complement sum of RFC 1071.
func sum(b []byte) uint16 {
	s := uint32(0)
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(be16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// replace brings a checksum up to date with octets that change (RFC 1624): a wrong one stays wrong.
func replace(check, old, new []byte) {
	s := uint32(^be16(check))
	for i := 0; i < len(old); i += 2 {
		s += uint32(^be16(old[i:])) + uint32(be16(new[i:]))
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	binary.BigEndian.PutUint16(check, ^uint16(s))
}

// end is one end of a packet.
type end int

const (
	source end = iota
	destination
)

// edit is a copy of a packet's frame that is being translated.
type edit []byte

func (p *packet) edit() edit { return slices.Clone(p.frame) }

// swap writes the octets new over old, and into each checksum that covers them.
func swap(old, new []byte, checks ...[]byte) {
	for _, check := range checks {
		replace(check, old, new)
	}
	copy(old, new)
}

// address changes an address of the IP header alone.
func (e edit) address(which end, a netip.Addr) {
	ip, b := e[ipAt:], a.As4()
	at := 12 + 4*int(which)
	swap(ip[at:at+4], b[:], ip[10:12])
}

// hop counts one hop.
func (e edit) hop() {
	ip := e[ipAt:]
	swap(ip[8:10], []byte{ip[8] - 1, ip[9]}, ip[10:12])
}

// identification changes that of a datagram.
func (e edit) identification(id uint16) {
	ip := e[ipAt:]
	swap(ip[4:6], binary.BigEndian.AppendUint16(nil, id), ip[10:12])
}

// macs sets the frame's addresses.
func (e edit) macs(to, from MAC) {
	copy(e, to[:])
	copy(e[6:], from[:])
}

// translate gives one end of the packet another address and port (RFC 3022 section 4.1). p is the packet before.
func (e edit) translate(p *packet, which end, to netip.AddrPort) {
	port, addr := binary.BigEndian.AppendUint16(nil, to.Port()), to.Addr().As4()
	l4 := e[p.l4:]
	at := map[uint8]int{icmp: 2, tcp: 16, udp: 6}[p.proto]
	check := l4[at : at+2]
	switch {
	case p.proto == icmp: // one identifier, and no pseudo-header
		swap(l4[4:6], port, check)
	case p.proto == udp && be16(check) == 0: // none (RFC 768)
		copy(l4[2*int(which):], port)
	default:
		old := e[ipAt+12+4*int(which):]
		replace(check, old[:4], addr[:])
		swap(l4[2*int(which):2*int(which)+2], port, check)
		if p.proto == udp && be16(check) == 0 {
			check[0], check[1] = 0xff, 0xff
		}
	}
	e.address(which, to.Addr())
}
