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

// TTL is that of IPv4, or the hop limit of IPv6; 0 for other packets.
func (f Frame) TTL() uint8 {
	if ip := f.IPv4(); ip != nil {
		return ip.TTL
	}
	if ip := f.IPv6(); ip != nil {
		return ip.HopLimit
	}
	return 0
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

// Message is the header of ICMP, or of ICMPv6, which is the same but for its types (RFC 4443 section 2.1), or nil.
func (f Frame) Message() *layers.ICMPv4 {
	icmp := f.ICMPv6()
	if icmp == nil || len(icmp.Payload) < 4 {
		return f.ICMP()
	}
	return &layers.ICMPv4{
		BaseLayer: layers.BaseLayer{Payload: icmp.Payload[4:]},
		TypeCode:  layers.ICMPv4TypeCode(icmp.TypeCode),
		Checksum:  icmp.Checksum,
		Id:        binary.BigEndian.Uint16(icmp.Payload),
		Seq:       binary.BigEndian.Uint16(icmp.Payload[2:]),
	}
}

// Addrs are the source and destination of IPv4 or IPv6, invalid for other packets.
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
	case f.Message() != nil:
		return netip.AddrPortFrom(src, f.Message().Id)
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
	case f.Message() != nil:
		return netip.AddrPortFrom(dst, f.Message().Id)
	}
	return netip.AddrPortFrom(dst, 0)
}
