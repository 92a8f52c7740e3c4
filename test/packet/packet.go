// SPDX-License-Identifier: Apache-2.0

// Package packet builds the frames that tests send, whole and right: a test changes what it wants to be wrong.
package packet

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// MAC is an Ethernet address.
type MAC [6]byte

// Broadcast is the Ethernet address of everybody.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Ends are the two ends of a packet. In an ICMP query the port of Source is the identifier, that of Destination is unused.
type Ends struct {
	SourceMAC, DestinationMAC MAC
	Source, Destination       netip.AddrPort
}

// Packet is one frame, layer by layer; nil layers are absent. Bytes fills in lengths and checksums.
type Packet struct {
	Ethernet layers.Ethernet
	ARP      *layers.ARP
	IPv4     *layers.IPv4
	IPv6     *layers.IPv6
	TCP      *layers.TCP
	UDP      *layers.UDP
	ICMP     *layers.ICMPv4 // behind IPv6 too, where the header is the same (RFC 4443 section 2.1) and types are ICMPv6's
	ICMPv6   *layers.ICMPv6 // its body is the payload
	Payload  []byte
	// NoChecksum sends UDP without a checksum. Optional.
	NoChecksum bool
}

// IPv4 is a packet of a protocol that has no ports, or whose header is the payload.
func IPv4(proto layers.IPProtocol, e Ends, payload []byte) *Packet {
	return &Packet{
		Ethernet: layers.Ethernet{
			SrcMAC:       e.SourceMAC[:],
			DstMAC:       e.DestinationMAC[:],
			EthernetType: layers.EthernetTypeIPv4,
		},
		IPv4: &layers.IPv4{
			Version:  4,
			TTL:      64,
			Id:       0x1234,
			Protocol: proto,
			SrcIP:    e.Source.Addr().AsSlice(),
			DstIP:    e.Destination.Addr().AsSlice(),
		},
		Payload: payload,
	}
}

// IPv6 is IPv4 for the other family.
func IPv6(proto layers.IPProtocol, e Ends, payload []byte) *Packet {
	return &Packet{
		Ethernet: layers.Ethernet{
			SrcMAC:       e.SourceMAC[:],
			DstMAC:       e.DestinationMAC[:],
			EthernetType: layers.EthernetTypeIPv6,
		},
		IPv6: &layers.IPv6{
			Version:    6,
			HopLimit:   64,
			NextHeader: proto,
			SrcIP:      e.Source.Addr().AsSlice(),
			DstIP:      e.Destination.Addr().AsSlice(),
		},
		Payload: payload,
	}
}

// Seq and Ack are the numbers of a TCP packet that nobody has given others.
const (
	Seq = 0x01020304
	Ack = 0x05060708
)

// New is a packet of TCP (with ACK alone), UDP, or ICMP (an echo request), of the family of its ends. IPv6's ICMP is ICMPv6.
func New(proto layers.IPProtocol, e Ends, payload []byte) *Packet {
	p := IPv4(proto, e, payload)
	if e.Source.Addr().Is6() {
		p = IPv6(proto, e, payload)
	}
	switch proto {
	case layers.IPProtocolTCP:
		p.TCP = &layers.TCP{Seq: Seq, Ack: Ack, ACK: true, Window: 512}
	case layers.IPProtocolUDP:
		p.UDP = &layers.UDP{}
	case layers.IPProtocolICMPv4:
		p.ICMP = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Seq: 7}
	case layers.IPProtocolICMPv6:
		p.ICMP = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv6TypeEchoRequest, 0), Seq: 7}
	default:
		panic(fmt.Sprintf("packet: %v has no ports", proto))
	}
	p.SetDestination(e.Destination)
	p.SetSource(e.Source)
	return p
}

// SetSource changes the source address and port. An ICMP query's identifier stands for either end's port.
func (p *Packet) SetSource(a netip.AddrPort) {
	if p.IPv6 != nil {
		p.IPv6.SrcIP = a.Addr().AsSlice()
	} else {
		p.IPv4.SrcIP = a.Addr().AsSlice()
	}
	switch {
	case p.TCP != nil:
		p.TCP.SrcPort = layers.TCPPort(a.Port())
	case p.UDP != nil:
		p.UDP.SrcPort = layers.UDPPort(a.Port())
	case p.ICMP != nil:
		p.ICMP.Id = a.Port()
	}
}

// SetDestination is SetSource for the other end.
func (p *Packet) SetDestination(a netip.AddrPort) {
	if p.IPv6 != nil {
		p.IPv6.DstIP = a.Addr().AsSlice()
	} else {
		p.IPv4.DstIP = a.Addr().AsSlice()
	}
	switch {
	case p.TCP != nil:
		p.TCP.DstPort = layers.TCPPort(a.Port())
	case p.UDP != nil:
		p.UDP.DstPort = layers.UDPPort(a.Port())
	case p.ICMP != nil:
		p.ICMP.Id = a.Port()
	}
}

// Protocol is what is behind the IP header.
func (p *Packet) Protocol() layers.IPProtocol {
	if p.IPv6 != nil {
		return p.IPv6.NextHeader
	}
	return p.IPv4.Protocol
}

// Addrs are the source and destination of IPv4 or IPv6.
func (p *Packet) Addrs() (src, dst netip.Addr) {
	if p.IPv6 != nil {
		src, _ = netip.AddrFromSlice(p.IPv6.SrcIP)
		dst, _ = netip.AddrFromSlice(p.IPv6.DstIP)
		return src, dst
	}
	src, _ = netip.AddrFromSlice(p.IPv4.SrcIP.To4())
	dst, _ = netip.AddrFromSlice(p.IPv4.DstIP.To4())
	return src, dst
}

// ARPRequest is a broadcast that asks who has target. An invalid sender stands for 0.0.0.0, a probe.
func ARPRequest(mac MAC, sender, target netip.Addr) *Packet {
	if !sender.IsValid() {
		sender = netip.IPv4Unspecified()
	}
	return &Packet{
		Ethernet: layers.Ethernet{SrcMAC: mac[:], DstMAC: Broadcast[:], EthernetType: layers.EthernetTypeARP},
		ARP: &layers.ARP{
			AddrType:          layers.LinkTypeEthernet,
			Protocol:          layers.EthernetTypeIPv4,
			HwAddressSize:     6,
			ProtAddressSize:   4,
			Operation:         layers.ARPRequest,
			SourceHwAddress:   mac[:],
			SourceProtAddress: sender.AsSlice(),
			DstHwAddress:      make([]byte, 6),
			DstProtAddress:    target.AsSlice(),
		},
	}
}

// ARPReply is owner's answer, by RFC 826, to a request from asker.
func ARPReply(ownerMAC MAC, owner netip.Addr, askerMAC MAC, asker netip.Addr) *Packet {
	p := ARPRequest(ownerMAC, owner, asker)
	p.Ethernet.DstMAC = net.HardwareAddr(askerMAC[:])
	p.ARP.Operation = layers.ARPReply
	p.ARP.DstHwAddress = askerMAC[:]
	return p
}

// Bytes is the frame as on the wire, without padding and frame check sequence.
func (p *Packet) Bytes() []byte {
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, p.inner()...); err != nil {
		panic(fmt.Sprintf("packet: %v", err))
	}
	length := 14 + len(buf.Bytes())
	if err := p.Ethernet.SerializeTo(buf, opts); err != nil {
		panic(fmt.Sprintf("packet: %v", err))
	}
	frame := append([]byte(nil), buf.Bytes()[:length]...) // gopacket pads to 60 octets
	if p.UDP != nil {
		p.finishUDP(frame[14+p.headerLength():])
	}
	return frame
}

func (p *Packet) headerLength() int {
	if p.IPv6 != nil {
		return 40
	}
	return int(p.IPv4.IHL) * 4
}

// network is the layer whose addresses are in the checksums.
func (p *Packet) network() gopacket.NetworkLayer {
	if p.IPv6 != nil {
		return p.IPv6
	}
	return p.IPv4
}

// inner lists the layers above Ethernet.
func (p *Packet) inner() []gopacket.SerializableLayer {
	var all []gopacket.SerializableLayer
	if p.ARP != nil {
		all = append(all, p.ARP)
	}
	if p.IPv4 != nil {
		all = append(all, p.IPv4)
	}
	if p.IPv6 != nil {
		all = append(all, p.IPv6)
	}
	switch {
	case p.TCP != nil:
		_ = p.TCP.SetNetworkLayerForChecksum(p.network())
		all = append(all, p.TCP)
	case p.UDP != nil:
		_ = p.UDP.SetNetworkLayerForChecksum(p.network())
		all = append(all, p.UDP)
	case p.ICMP != nil && p.IPv6 != nil:
		all = append(all, p.icmp6()...)
	case p.ICMP != nil:
		all = append(all, p.ICMP)
	case p.ICMPv6 != nil:
		_ = p.ICMPv6.SetNetworkLayerForChecksum(p.network())
		all = append(all, p.ICMPv6)
	}
	return append(all, gopacket.Payload(p.Payload))
}

// icmp6 is the ICMP header with the checksum of IPv6, which has a pseudo header.
func (p *Packet) icmp6() []gopacket.SerializableLayer {
	header := &layers.ICMPv6{TypeCode: layers.ICMPv6TypeCode(p.ICMP.TypeCode)}
	_ = header.SetNetworkLayerForChecksum(p.IPv6)
	second := binary.BigEndian.AppendUint16(nil, p.ICMP.Id)
	return []gopacket.SerializableLayer{header, gopacket.Payload(binary.BigEndian.AppendUint16(second, p.ICMP.Seq))}
}

// finishUDP has the last word on the checksum: zero means "none", so a sum of zero is sent as all ones (RFC 768).
func (p *Packet) finishUDP(udp []byte) {
	switch {
	case p.NoChecksum:
		udp[6], udp[7] = 0, 0
	case udp[6] == 0 && udp[7] == 0:
		udp[6], udp[7] = 0xff, 0xff
	}
}
