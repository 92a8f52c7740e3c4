// SPDX-License-Identifier: Apache-2.0

package model

import "net/netip"

// Kinds of extension headers (RFC 8200 section 4.1; RFC 6275 has mobility).
const (
	hopByHop       = 0
	routing        = 43
	fragmentHeader = 44
	authentication = 51
	destOptions    = 60
	mobility       = 135
)

const (
	// extensionsMost is how many extension headers are walked over.
	extensionsMost = 8
	// farthest is the last offset in a frame that is looked at.
	farthest = 255
)

// isLinkLocal says whether the address of IPv6 is of fe80::/10.
func isLinkLocal(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }

// isOffLink says whether no packet on a link is for the address: unspecified, loopback, IPv4-mapped, interface-local, scope 0.
func isOffLink(a netip.Addr) bool {
	b := a.As16()
	if b[0] == 0xff {
		return b[1]&0x0f <= 1
	}
	return a.IsUnspecified() || a.IsLoopback() || a.Is4In6()
}

// linkLocal is the address that a MAC makes (RFC 4291 appendix A).
func linkLocal(mac MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

func (p *packet) parse6() string {
	if len(p.frame) < ipAt+40 {
		return "DROP_MALFORMED"
	}
	ip := p.frame[ipAt:]
	p.src, p.dst = addr6At(ip[8:]), addr6At(ip[24:])
	p.l4, p.end, p.proto, p.ttl = ipAt+40, ipAt+40+int(be16(ip[4:])), ip[6], ip[7]
	if ip[0]>>4 != 6 || p.end > len(p.frame) {
		return "DROP_MALFORMED"
	}
	if reason := p.walk(); reason != "" {
		return reason
	}
	if p.fragment > farthest-8 {
		return "DROP_EXTENSIONS"
	}
	return ""
}

func addr6At(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }

// walk goes over the chain of extension headers that begins at p.l4 with one of the kind p.proto, up to what is none, or what is in the
// first fragment alone. The reason why that cannot be done.
func (p *packet) walk() string {
	first := p.l4
	p.part = p.l4
	for n := 0; p.offset == 0; n++ {
		kind, left, length := p.proto, p.frame[p.l4:max(p.l4, p.end)], 8
		switch kind {
		case hopByHop, routing, fragmentHeader, authentication, destOptions, mobility:
		default:
			return ""
		}
		if kind == hopByHop && p.l4 != first || len(left) < length {
			return "DROP_MALFORMED"
		}
		switch kind {
		case fragmentHeader:
		case authentication:
			length = (int(left[1]) + 2) * 4
		default:
			length = (int(left[1]) + 1) * 8
		}
		switch {
		case length > len(left), kind == fragmentHeader && p.fragment != 0:
			return "DROP_MALFORMED"
		case kind == routing && left[2] == 0: // RFC 5095
			return "DROP_SOURCE_ROUTE"
		case kind == hopByHop:
			p.options = true
		case kind == fragmentHeader:
			p.fragment, p.part = p.l4, p.l4+8
			p.offset, p.more, p.id = int(be16(left[2:])&^7), left[3]&1 == 1, be32(left[4:])
		}
		p.proto, p.l4 = left[0], p.l4+length
		if n == extensionsMost {
			return "DROP_EXTENSIONS"
		}
	}
	return ""
}
