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

// six says whether it is of IPv6.
func (e edit) six() bool { return be16(e[12:]) == etherIPv6 }

// addressAt is where an address is in the IP header at the offset.
func (e edit) addressAt(ip int, which end) []byte {
	at, length := ip+12+4*int(which), 4
	if e.six() {
		at, length = ip+8+16*int(which), 16
	}
	return e[at : at+length]
}

// header are the octets of an IP header's checksum, if it has one.
func (e edit) header() [][]byte {
	if e.six() {
		return nil
	}
	return [][]byte{e[ipAt+10 : ipAt+12]}
}

// address changes an address of the IP header alone.
func (e edit) address(which end, a netip.Addr) {
	swap(e.addressAt(ipAt, which), a.AsSlice(), e.header()...)
}

// errorAddress changes an address of an ICMP error, which is in the checksum of ICMPv6.
func (e edit) errorAddress(p *packet, which end, a netip.Addr) {
	if e.six() {
		replace(e[p.l4+2:p.l4+4], e.addressAt(ipAt, which), a.AsSlice())
	}
	e.address(which, a)
}

// hop counts one hop.
func (e edit) hop() {
	if e.six() {
		e[ipAt+7]--
		return
	}
	ip := e[ipAt:]
	swap(ip[8:10], []byte{ip[8] - 1, ip[9]}, e.header()...)
}

// identification changes that of the datagram that p is of.
func (e edit) identification(p *packet, id uint32) {
	if e.six() {
		binary.BigEndian.PutUint32(e[p.fragment+4:], id)
		return
	}
	swap(e[ipAt+4:ipAt+6], binary.BigEndian.AppendUint16(nil, uint16(id)), e.header()...)
}

// macs sets the frame's addresses.
func (e edit) macs(to, from MAC) {
	copy(e, to[:])
	copy(e[6:], from[:])
}

// translate gives one end of the packet another address and port (RFC 3022 section 4.1). p is the packet before.
func (e edit) translate(p *packet, which end, to netip.AddrPort) {
	port, addr := binary.BigEndian.AppendUint16(nil, to.Port()), to.Addr().AsSlice()
	l4 := e[p.l4:]
	at := map[uint8]int{p.icmp(): 2, tcp: 16, udp: 6}[p.proto]
	check, field := l4[at:at+2], l4[2*int(which):2*int(which)+2]
	if p.isICMP() { // one identifier
		field = l4[4:6]
	}
	switch {
	case p.proto == icmp: // no pseudo-header
		swap(field, port, check)
	case p.proto == udp && be16(check) == 0: // none (RFC 768)
		copy(field, port)
	default:
		replace(check, e.addressAt(ipAt, which), addr)
		swap(field, port, check)
		if p.proto == udp && be16(check) == 0 {
			check[0], check[1] = 0xff, 0xff
		}
	}
	e.address(which, to.Addr())
}
