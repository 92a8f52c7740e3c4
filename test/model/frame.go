// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
)

// Protocols that have ports, and both families' ICMP.
const (
	icmp  = 1
	tcp   = 6
	udp   = 17
	icmp6 = 58
)

// Offsets.
const (
	ipAt       = 14
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherVLAN  = 0x8100
	etherQinQ  = 0x88a8
	etherIPv6  = 0x86dd
	etherFirst = 0x0600 // below it is a length: LLC
)

// packet is a frame, taken apart.
type packet struct {
	frame     []byte
	etherType uint16

	// IP.
	src, dst netip.Addr
	proto    uint8
	ttl      uint8 // IPv6: hop limit
	id       uint32
	offset   int  // of a fragment, octets
	more     bool // fragments follow
	options  bool // IPv6: a hop-by-hop header
	l4, end  int  // offsets in the frame
	part     int  // where the octets begin that offsets of fragments count: IPv6 may have extension headers there
	fragment int  // IPv6: where the fragment header is; 0: there is none

	// Transport.
	sport, dport uint16 // ICMP query: the identifier, and 0
	kind         uint8  // ICMP type
	segment      segment
}

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

func addrAt(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }

// six says whether the frame is said to hold IPv6.
func (p *packet) six() bool { return p.etherType == etherIPv6 }

// parse takes Ethernet and IP apart. The reason why that cannot be done; if there is a source, it is known all the same.
func parse(frame []byte) (*packet, string) {
	p := &packet{frame: frame, etherType: be16(frame[12:])}
	switch p.etherType {
	case etherIPv4:
		return p, p.parse4()
	case etherIPv6:
		return p, p.parse6()
	}
	return p, ""
}

func (p *packet) parse4() string {
	if len(p.frame) < ipAt+20 {
		return "DROP_MALFORMED"
	}
	ip := p.frame[ipAt:]
	p.src, p.dst = addrAt(ip[12:]), addrAt(ip[16:])
	header, total := int(ip[0]&15)*4, int(be16(ip[2:]))
	if ip[0]>>4 != 4 || header < 20 || total < header || total > len(ip) {
		return "DROP_MALFORMED"
	}
	p.id, p.ttl, p.proto = uint32(be16(ip[4:])), ip[8], ip[9]
	p.more, p.offset = ip[6]&0x20 != 0, int(be16(ip[6:])&0x1fff)*8
	p.l4, p.end, p.options = ipAt+header, ipAt+total, header > 20
	p.part = p.l4
	return ""
}

func (p *packet) isFragment() bool { return p.more || p.offset > 0 }

// isDHCPServer says whether the packet comes from a DHCP server's port. What there is beyond the end of a short datagram counts, too.
func (p *packet) isDHCPServer() bool {
	port := uint16(67)
	if p.six() {
		port = 547
	}
	return p.proto == udp && p.offset == 0 && p.l4+8 <= len(p.frame) && be16(p.frame[p.l4:]) == port
}

// size is what the MTU is held against.
func (p *packet) size() int { return len(p.frame) - ipAt }

// parseTransport takes the transport header apart; the reason why that cannot be done.
func (p *packet) parseTransport() string {
	length := map[uint8]int{p.icmp(): 8, tcp: 20, udp: 8}[p.proto]
	switch {
	case p.six() && p.l4 > farthest-20:
		return "DROP_EXTENSIONS"
	case length == 0:
		return "PASS_PROTOCOL"
	case p.l4+length > p.end:
		return "DROP_TRANSPORT"
	}
	b := p.frame[p.l4:]
	switch p.proto {
	case p.icmp():
		p.kind = b[0]
		if p.isRequest() || p.isReply() {
			p.sport = be16(b[4:])
		}
	case tcp:
		p.segment = segment{flags: b[13], seq: be32(b[4:]), ack: be32(b[8:])}
		fallthrough
	default:
		p.sport, p.dport = be16(b), be16(b[2:])
	}
	return ""
}

// icmp is the protocol of the family's ICMP.
func (p *packet) icmp() uint8 {
	if p.six() {
		return icmp6
	}
	return icmp
}

func (p *packet) isICMP() bool { return p.proto == p.icmp() }

func isRequest(six bool, kind uint8) bool {
	return six && kind == 128 || !six && (kind == 8 || kind == 13)
}

func isReply(six bool, kind uint8) bool {
	return six && kind == 129 || !six && (kind == 0 || kind == 14)
}

func (p *packet) isRequest() bool { return isRequest(p.six(), p.kind) }

func (p *packet) isReply() bool { return isReply(p.six(), p.kind) }

// isICMPError says whether the packet is about another one: destination unreachable, packet too big, time exceeded, parameter problem.
func (p *packet) isICMPError() bool {
	if p.six() {
		return p.isICMP() && p.kind >= 1 && p.kind <= 4
	}
	return p.isICMP() && (p.kind == 3 || p.kind == 11 || p.kind == 12)
}

// judge is what a router drops (RFC 1812 sections 5.2.2 and 5.3.7, RFC 7126 section 4.3).
func (p *packet) judge() string {
	header := p.frame[ipAt:p.l4]
	switch {
	case isMartian(p.src) || isMartian(p.dst):
		return "DROP_MARTIAN"
	case p.six():
		return ""
	case isSourceRouted(header[20:]):
		return "DROP_SOURCE_ROUTE"
	case sum(header) != 0xffff:
		return "DROP_CHECKSUM"
	}
	return ""
}

func isMartian(a netip.Addr) bool {
	if a.Is6() {
		return a.As16()[0] == 0xff || isLinkLocal(a) || isOffLink(a)
	}
	first := a.As4()[0]
	return first == 0 || first == 127 || first >= 224
}

// isSourceRouted walks the options; malformed ones count as a source route.
func isSourceRouted(options []byte) bool {
	for len(options) > 0 && options[0] != 0 {
		if options[0] == 1 {
			options = options[1:]
			continue
		}
		if options[0] == 131 || options[0] == 137 {
			return true
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return true
		}
		options = options[options[1]:]
	}
	return false
}
