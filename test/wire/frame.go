// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Frame is one captured packet.
type Frame struct {
	gopacket.Packet
	// Sent says that the interface looked at has sent it; otherwise it has received it.
	Sent bool
	// Partial says that the sender left the transport checksum to a later hop, as between two virtual interfaces.
	Partial bool
	// Tagged says that the frame has a VLAN tag, which the kernel has taken out of what is shown here.
	Tagged bool
}

// IPv4 is the outermost IPv4 header, or nil.
func (f Frame) IPv4() *layers.IPv4 {
	ip, _ := f.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	return ip
}

// IPv6 is the outermost IPv6 header, or nil.
func (f Frame) IPv6() *layers.IPv6 {
	ip, _ := f.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	return ip
}

// ARP is the ARP packet, or nil.
func (f Frame) ARP() *layers.ARP {
	arp, _ := f.Layer(layers.LayerTypeARP).(*layers.ARP)
	return arp
}

// UDP is the UDP header of the packet itself, or nil.
func (f Frame) UDP() *layers.UDP {
	udp, _ := f.Layer(layers.LayerTypeUDP).(*layers.UDP)
	return udp
}

// TCP is the TCP header of the packet itself, or nil.
func (f Frame) TCP() *layers.TCP {
	tcp, _ := f.Layer(layers.LayerTypeTCP).(*layers.TCP)
	return tcp
}

// ICMP is the ICMP header, or nil.
func (f Frame) ICMP() *layers.ICMPv4 {
	icmp, _ := f.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	return icmp
}

// ICMPv6 is the ICMPv6 header, or nil; its body is its payload.
func (f Frame) ICMPv6() *layers.ICMPv6 {
	icmp, _ := f.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	return icmp
}

// Addrs are the IP source and destination, invalid for other packets.
func (f Frame) Addrs() (src, dst netip.Addr) {
	if ip := f.IPv4(); ip != nil {
		src, _ = netip.AddrFromSlice(ip.SrcIP.To4())
		dst, _ = netip.AddrFromSlice(ip.DstIP.To4())
	} else if ip := f.IPv6(); ip != nil {
		src, _ = netip.AddrFromSlice(ip.SrcIP)
		dst, _ = netip.AddrFromSlice(ip.DstIP)
	}
	return src, dst
}

// Source is the address and the port, or ICMP identifier, of the sender; the port is 0 for other protocols.
func (f Frame) Source() netip.AddrPort {
	src, _ := f.Addrs()
	switch {
	case f.UDP() != nil:
		return netip.AddrPortFrom(src, uint16(f.UDP().SrcPort))
	case f.TCP() != nil:
		return netip.AddrPortFrom(src, uint16(f.TCP().SrcPort))
	case f.ICMP() != nil:
		return netip.AddrPortFrom(src, f.ICMP().Id)
	}
	return netip.AddrPortFrom(src, 0)
}

// Destination is Source of the other end.
func (f Frame) Destination() netip.AddrPort {
	_, dst := f.Addrs()
	switch {
	case f.UDP() != nil:
		return netip.AddrPortFrom(dst, uint16(f.UDP().DstPort))
	case f.TCP() != nil:
		return netip.AddrPortFrom(dst, uint16(f.TCP().DstPort))
	case f.ICMP() != nil:
		return netip.AddrPortFrom(dst, f.ICMP().Id)
	}
	return netip.AddrPortFrom(dst, 0)
}

// WrongChecksum names the header whose checksum is wrong, or nothing. It computes the sums over the octets as they are on the wire.
// What it cannot judge is right: a fragment's transport checksum, one that is left to a later hop, and a UDP checksum of zero.
func (f Frame) WrongChecksum() string {
	ip := f.IPv4()
	if ip == nil {
		return f.wrongChecksum6()
	}
	header, payload := ip.Contents, ip.Payload
	switch {
	case Sum(header) != 0xffff:
		return "IPv4"
	case f.Partial || ip.FragOffset > 0 || ip.Flags&layers.IPv4MoreFragments > 0:
		return ""
	case ip.Protocol == layers.IPProtocolICMPv4 && Sum(payload) != 0xffff:
		return "ICMP"
	case ip.Protocol == layers.IPProtocolTCP && Sum(pseudo(header, payload), payload) != 0xffff:
		return "TCP"
	case ip.Protocol == layers.IPProtocolUDP && len(payload) >= 8 && payload[6]|payload[7] != 0 &&
		Sum(pseudo(header, payload), payload) != 0xffff:
		return "UDP"
	}
	return ""
}

// wrongChecksum6 is WrongChecksum of IPv6. Behind extension headers it cannot judge; a UDP checksum of zero is wrong (RFC 8200 section 8.1).
func (f Frame) wrongChecksum6() string {
	ip := f.IPv6()
	if ip == nil || f.Partial {
		return ""
	}
	name := map[layers.IPProtocol]string{layers.IPProtocolICMPv6: "ICMPv6", layers.IPProtocolTCP: "TCP", layers.IPProtocolUDP: "UDP"}[ip.NextHeader]
	pseudo := binary.BigEndian.AppendUint32(append([]byte(nil), ip.Contents[8:40]...), uint32(len(ip.Payload)))
	pseudo = append(pseudo, 0, 0, 0, byte(ip.NextHeader))
	switch payload := ip.Payload; {
	case name == "":
		return ""
	case name == "UDP" && len(payload) >= 8 && payload[6]|payload[7] == 0:
		return name
	case Sum(pseudo, payload) != 0xffff:
		return name
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

// pseudo is the pseudo header of TCP and UDP.
func pseudo(header, payload []byte) []byte {
	p := append([]byte(nil), header[12:20]...)
	p = append(p, 0, header[9])
	return binary.BigEndian.AppendUint16(p, uint16(len(payload)))
}
