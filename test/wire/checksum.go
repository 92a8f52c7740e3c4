// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"slices"

	"github.com/gopacket/gopacket/layers"
)

// WrongChecksum names the header whose checksum is wrong, or nothing. It computes the sums over the octets as they are on the wire.
// What it cannot judge is right: a fragment's transport checksum, one that is left to a later hop, and IPv4's UDP checksum of zero.
func (f Frame) WrongChecksum() string {
	if ip := f.IPv4(); ip != nil {
		return f.wrongIPv4(ip)
	}
	if f.IPv6() != nil && f.LinkLayer() != nil {
		return f.wrongIPv6(f.LinkLayer().LayerPayload())
	}
	return ""
}

func (f Frame) wrongIPv4(ip *layers.IPv4) string {
	header, payload := ip.Contents, ip.Payload
	switch {
	case Sum(header) != 0xffff:
		return "IPv4"
	case f.Partial || ip.FragOffset > 0 || ip.Flags&layers.IPv4MoreFragments > 0:
		return ""
	case ip.Protocol == layers.IPProtocolICMPv4 && Sum(payload) != 0xffff:
		return "ICMP"
	case ip.Protocol == layers.IPProtocolUDP && len(payload) >= 8 && payload[6]|payload[7] == 0:
		return ""
	}
	return wrongTransport(header[12:20], ip.Protocol, payload)
}

func (f Frame) wrongIPv6(packet []byte) string {
	if len(packet) < 40 {
		return ""
	}
	proto, payload, whole := transport6(packet)
	switch {
	case f.Partial || !whole:
		return ""
	case proto == layers.IPProtocolUDP && len(payload) >= 8 && payload[6]|payload[7] == 0:
		return "UDP" // not without one (RFC 8200 section 8.1)
	}
	return wrongTransport(packet[8:40], proto, payload)
}

// transport6 is what is behind all extension headers, and whether it is a whole packet.
func transport6(packet []byte) (proto layers.IPProtocol, payload []byte, whole bool) {
	proto, payload = layers.IPProtocol(packet[6]), packet[40:]
	if length := int(binary.BigEndian.Uint16(packet[4:])); length > 0 && length < len(payload) {
		payload = payload[:length] // the rest pads the frame
	}
	for len(payload) >= 8 {
		length := 8 + 8*int(payload[1])
		switch proto {
		case layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Destination:
		case layers.IPProtocolIPv6Fragment:
			if binary.BigEndian.Uint16(payload[2:])&0xfff9 != 0 {
				return proto, nil, false
			}
			length = 8
		default:
			return proto, payload, true
		}
		if length > len(payload) {
			return proto, nil, false
		}
		proto, payload = layers.IPProtocol(payload[0]), payload[length:]
	}
	return proto, payload, true
}

// wrongTransport is about the protocols whose checksums have a pseudo header.
func wrongTransport(addrs []byte, proto layers.IPProtocol, payload []byte) string {
	switch proto {
	case layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv6:
		if Sum(pseudo(addrs, proto, len(payload)), payload) != 0xffff {
			return proto.String()
		}
	}
	return ""
}

// Sum is the ones' complement sum of RFC 1071 over parts, each but the last of an even length. With a right checksum it is 0xffff.
func Sum(parts ...[]byte) uint16 {
	var s uint32
	for _, part := range parts {
		for i, b := range part {
			s += uint32(b) << (8 * (1 - i%2))
			s = s&0xffff + s>>16
		}
	}
	return uint16(s)
}

// pseudo is the pseudo header of a packet with these addresses. Both versions' have the same sum.
func pseudo(addrs []byte, proto layers.IPProtocol, length int) []byte {
	p := binary.BigEndian.AppendUint32(slices.Clone(addrs), uint32(length))
	return append(p, 0, byte(proto))
}
