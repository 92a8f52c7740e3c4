// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/wire"
)

// marker is the payload of what tests inject, to be found again.
const marker = "flyover-e2e-marker"

// injector sends frames as they are from inside a namespace.
type injector struct {
	fd       int
	own      net.HardwareAddr
	gateway  net.HardwareAddr
	neighbor net.HardwareAddr // of ns2
}

func injectorInNS1(t *testing.T) injector {
	t.Helper()
	fd, err := wire.Socket("ns1", "veth-ns1", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return injector{fd, hardware(t, "ns1", "veth-ns1"), hardware(t, "", "br1"), hardware(t, "ns2", "veth-ns2")}
}

func hardware(t *testing.T, ns, device string) net.HardwareAddr {
	t.Helper()
	mac, err := net.ParseMAC(macOf(t, ns, device))
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// send builds a frame with right lengths and checksums, and sends it.
func (i injector) send(t *testing.T, ls ...gopacket.SerializableLayer) {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(i.fd, b.Bytes()); err != nil {
		t.Fatal(err)
	}
}

func ethernet(src, dst net.HardwareAddr, ethertype layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: ethertype}
}

func ipv4(src, dst netip.Addr, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
}

// udp is a marked UDP packet, all above Ethernet.
func udp(src, dst netip.Addr) []gopacket.SerializableLayer {
	ip := ipv4(src, dst, layers.IPProtocolUDP)
	header := &layers.UDP{SrcPort: 4000, DstPort: 4001}
	_ = header.SetNetworkLayerForChecksum(ip)
	return []gopacket.SerializableLayer{ip, header, gopacket.Payload(marker)}
}

func arp(operation uint16, senderMAC net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) *layers.ARP {
	return &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation:       operation,
		SourceHwAddress: senderMAC, SourceProtAddress: sender.AsSlice(),
		DstHwAddress: targetMAC, DstProtAddress: target.AsSlice(),
	}
}
