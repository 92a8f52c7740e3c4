// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
)

// Protocols that have ports, and ICMP.
const (
	icmp = 1
	tcp  = 6
	udp  = 17
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

	// IPv4.
	src, dst netip.Addr
	proto    uint8
	ttl      uint8
	id       uint16
	offset   int  // of a fragment, octets
	more     bool // fragments follow
	l4, end  int  // offsets in the frame

	// Transport.
	sport, dport uint16 // ICMP query: the identifier, and 0
	kind         uint8  // ICMP type
	segment      segment
}

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

func addrAt(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }

// parse takes Ethernet and IPv4 apart. False: it says that it is IPv4, and is not; if there is a source, it is known.
func parse(frame []byte) (*packet, bool) {
	p := &packet{frame: frame, etherType: be16(frame[12:])}
	if p.etherType != etherIPv4 {
		return p, true
	}
	if len(frame) < ipAt+20 {
		return p, false
	}
	ip := frame[ipAt:]
	p.src, p.dst = addrAt(ip[12:]), addrAt(ip[16:])
	header, total := int(ip[0]&15)*4, int(be16(ip[2:]))
	if ip[0]>>4 != 4 || header < 20 || total < header || total > len(ip) {
		return p, false
	}
	p.id, p.ttl, p.proto = be16(ip[4:]), ip[8], ip[9]
	p.more, p.offset = ip[6]&0x20 != 0, int(be16(ip[6:])&0x1fff)*8
	p.l4, p.end = ipAt+header, ipAt+total
	return p, true
}

func (p *packet) hasOptions() bool { return p.l4 > ipAt+20 }

func (p *packet) isFragment() bool { return p.more || p.offset > 0 }

// isDHCPServer says whether the packet comes from a DHCP server's port. What there is beyond the end of a short datagram counts, too.
func (p *packet) isDHCPServer() bool {
	return p.proto == udp && p.offset == 0 && p.l4+8 <= len(p.frame) && be16(p.frame[p.l4:]) == 67
}

// size is what the MTU is held against.
func (p *packet) size() int { return len(p.frame) - ipAt }

// parseTransport takes the transport header apart; the reason why that cannot be done.
func (p *packet) parseTransport() string {
	length := map[uint8]int{icmp: 8, tcp: 20, udp: 8}[p.proto]
	if length == 0 {
		return "PASS_PROTOCOL"
	}
	if p.l4+length > p.end {
		return "DROP_TRANSPORT"
	}
	b := p.frame[p.l4:]
	switch p.proto {
	case icmp:
		p.kind = b[0]
		if isRequest(p.kind) || isReply(p.kind) {
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

func isRequest(kind uint8) bool { return kind == 8 || kind == 13 }

func isReply(kind uint8) bool { return kind == 0 || kind == 14 }

// isError says whether the type is destination unreachable, time exceeded or parameter problem.
func isError(kind uint8) bool { return kind == 3 || kind == 11 || kind == 12 }

func (p *packet) isICMPError() bool { return p.proto == icmp && isError(p.kind) }

// judge is what a router drops (RFC 1812 sections 5.2.2 and 5.3.7, RFC 7126 section 4.3).
func (p *packet) judge() string {
	header := p.frame[ipAt:p.l4]
	switch {
	case isMartian(p.src) || isMartian(p.dst):
		return "DROP_MARTIAN"
	case isSourceRouted(header[20:]):
		return "DROP_SOURCE_ROUTE"
	case sum(header) != 0xffff:
		return "DROP_CHECKSUM"
	}
	return ""
}

func isMartian(a netip.Addr) bool {
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
