// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// TestIPv6Only: an endpoint without an IPv4 address has no source to send IPv4 from, 0.0.0.0 included.
func TestIPv6Only(t *testing.T) {
	d := load(t, options{})
	e := d.endpoints[1]
	put(t, d.FoEndpoints, bpf.DatapathEndpointKey{Ifindex: e.ifindex},
		bpf.DatapathEndpointEntry{Id: 1, Network: e.network, Addr6: e.addr6.As16(), Mac: e.mac})
	nobody := d.neighbourly(layers.IPProtocolUDP, nil)
	nobody.IPv4.SrcIP = make([]byte, 4)
	answer := packet.ARPReply(e.mac, e.addr, gatewayMAC, gatewayAddr)
	answer.ARP.SourceProtAddress = make([]byte, 4)
	for name, row := range map[string]struct {
		packet *packet.Packet
		want   expectation
	}{
		"IPv4 from 0.0.0.0":    {nobody, expectation{reason: bpf.DatapathReasonDROP_SOURCE_IPV4}},
		"IPv4 from an address": {d.neighbourly(layers.IPProtocolUDP, nil), expectation{reason: bpf.DatapathReasonDROP_SOURCE_IPV4}},
		"ARP reply of 0.0.0.0": {answer, expectation{reason: bpf.DatapathReasonDROP_ARP_SENDER}},
		"IPv6":                 {d.neighbourly6(layers.IPProtocolUDP, nil), expectation{reason: bpf.DatapathReasonFORWARD_ENDPOINT, to: uint32(2)}},
	} {
		t.Run(name, func(t *testing.T) { d.expect(t, d.fromEndpoint(1, row.packet.Bytes()), row.want) })
	}
}
