// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// Kinds of options of neighbour discovery (RFC 4861 section 4.6).
const (
	SourceLinkLayer = 1
	TargetLinkLayer = 2
)

// LinkLayer is an option of neighbour discovery that tells a MAC.
func LinkLayer(kind byte, mac MAC) []byte { return append([]byte{kind, 1}, mac[:]...) }

// LinkLocal is the address that a MAC makes (RFC 4291 appendix A).
func LinkLocal(mac MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// SolicitedNode is the multicast address by which the owner of addr is asked for, and its MAC.
func SolicitedNode(addr netip.Addr) (netip.Addr, MAC) {
	a := addr.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}),
		MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}
}

// Neighbour is a message of neighbour discovery that is about target, with a word of flags and options behind.
func Neighbour(kind uint8, e Ends, flags byte, target netip.Addr, options ...[]byte) *Packet {
	body := append([]byte{flags, 0, 0, 0}, target.AsSlice()...)
	for _, o := range options {
		body = append(body, o...)
	}
	p := IPv6(layers.IPProtocolICMPv6, e, body)
	p.IPv6.HopLimit = 255
	p.ICMPv6 = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	return p
}

// Solicitation asks for target's owner. An invalid sender stands for ::, duplicate address detection, which tells no MAC.
func Solicitation(mac MAC, sender, target netip.Addr) *Packet {
	group, groupMAC := SolicitedNode(target)
	options := [][]byte{LinkLayer(SourceLinkLayer, mac)}
	if !sender.IsValid() {
		sender, options = netip.IPv6Unspecified(), nil
	}
	return Neighbour(layers.ICMPv6TypeNeighborSolicitation, Ends{
		SourceMAC: mac, DestinationMAC: groupMAC, Source: netip.AddrPortFrom(sender, 0), Destination: netip.AddrPortFrom(group, 0),
	}, 0, target, options...)
}

// Flags of an advertisement (RFC 4861 section 4.4).
const (
	Router    = 0x80
	Solicited = 0x40
	Override  = 0x20
)

// Advertisement is owner's answer to a solicitation of asker; an invalid asker stands for ::, which all nodes are told for.
func Advertisement(flags byte, ownerMAC MAC, owner netip.Addr, askerMAC MAC, asker netip.Addr) *Packet {
	if !asker.IsValid() {
		asker, askerMAC = netip.IPv6LinkLocalAllNodes(), MAC{0x33, 0x33, 0, 0, 0, 1}
	}
	return Neighbour(layers.ICMPv6TypeNeighborAdvertisement, Ends{
		SourceMAC: ownerMAC, DestinationMAC: askerMAC, Source: netip.AddrPortFrom(owner, 0), Destination: netip.AddrPortFrom(asker, 0),
	}, flags, owner, LinkLayer(TargetLinkLayer, ownerMAC))
}
