// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Of each kind of packet, one octet that a checksum covers is changed; what is no packet of its own is not judged.
func TestWrongChecksum(t *testing.T) {
	ipv4 := func(proto layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 1, Protocol: proto, SrcIP: net.IPv4(192, 0, 2, 1), DstIP: net.IPv4(192, 0, 2, 2)}
	}
	ipv6 := func(next layers.IPProtocol) *layers.IPv6 {
		return &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: next, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
	}
	extension := func(next layers.IPProtocol) gopacket.Payload {
		return gopacket.Payload{byte(next), 0, 1, 4, 0, 0, 0, 0}
	}
	fragment := func(offset byte) gopacket.Payload { return gopacket.Payload{17, 0, 0, offset, 0, 0, 0, 1} }
	for name, c := range map[string]struct {
		net    gopacket.NetworkLayer
		layers []gopacket.SerializableLayer // behind net
		wrong  string                       // with its last octet but one changed
	}{
		"IPv4, TCP":              {ipv4(6), []gopacket.SerializableLayer{&layers.TCP{}}, "TCP"},
		"IPv4, UDP":              {ipv4(17), []gopacket.SerializableLayer{&layers.UDP{}}, "UDP"},
		"IPv4, ICMP":             {ipv4(1), []gopacket.SerializableLayer{&layers.ICMPv4{}}, "ICMP"},
		"IPv6, TCP":              {ipv6(6), []gopacket.SerializableLayer{&layers.TCP{}}, "TCP"},
		"IPv6, UDP":              {ipv6(17), []gopacket.SerializableLayer{&layers.UDP{}}, "UDP"},
		"IPv6, ICMPv6":           {ipv6(58), []gopacket.SerializableLayer{&layers.ICMPv6{}}, "ICMPv6"},
		"IPv6, hop-by-hop, UDP":  {ipv6(0), []gopacket.SerializableLayer{extension(17), &layers.UDP{}}, "UDP"},
		"IPv6, destination, UDP": {ipv6(60), []gopacket.SerializableLayer{extension(17), &layers.UDP{}}, "UDP"},
		"IPv6, atomic fragment":  {ipv6(44), []gopacket.SerializableLayer{fragment(0), &layers.UDP{}}, "UDP"},
		"IPv6, first fragment":   {ipv6(44), []gopacket.SerializableLayer{fragment(1), &layers.UDP{}}, ""},
		"IPv6, later fragment":   {ipv6(44), []gopacket.SerializableLayer{fragment(8), &layers.UDP{}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			data := serialize(t, c.net, c.layers)
			if wrong := frameOf(data).WrongChecksum(); wrong != "" {
				t.Errorf("right, but %q is called wrong", wrong)
			}
			data[len(data)-2] ^= 1
			if wrong := frameOf(data).WrongChecksum(); wrong != c.wrong {
				t.Errorf("%q is called wrong, want %q", wrong, c.wrong)
			}
		})
	}
}

func frameOf(data []byte) Frame {
	return Frame{Packet: gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)}
}

func serialize(t *testing.T, ip gopacket.NetworkLayer, behind []gopacket.SerializableLayer) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}
	if ip.LayerType() == layers.LayerTypeIPv6 {
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	all := []gopacket.SerializableLayer{eth, ip.(gopacket.SerializableLayer)}
	for _, l := range behind {
		if pseudo, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			_ = pseudo.SetNetworkLayerForChecksum(ip)
		}
		all = append(all, l)
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		append(all, gopacket.Payload("a payload so long that nothing pads the frame"))...)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
