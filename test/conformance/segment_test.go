// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"strings"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

var segmentRows = []row{
	{54, "An ARP request for the gateway is answered once, to the asker alone", "RFC 826", "", checkARPAnswer},
	{55, "Malformed ARP, and replies with a multicast MAC, are ignored", "RFC 826; RFC 1812 section 3.3.2", "", checkARPMalformed},
	{56, "A probe for one's own address gets no answer, one for another's does", "RFC 5227 section 2.1.1", "", checkARPProbe},
	{57, "ARP is answered for the addresses that are there, and for no others", "RFC 1812 section 3.3.2", "", checkARPProxy},
	{58, "The first packet to an unresolved neighbour is not lost", "RFC 1122 section 2.3.2.2", "", checkARPQueue},
	{63, "A known MAC's frames go to its port, unknown ones' to all, and none back", "IEEE 802.1D section 7.7", "", checkFlooding},
	{64, "MACs are learned from frames of unicast sources, and follow them; static ones stay", "IEEE 802.1D sections 7.8 and 7.9", "", checkLearning},
	{65, "Learned MACs age after 300 s, or 10 to 1000000 s if set so; traffic refreshes them", "IEEE 802.1D section 7.9.2", "", checkAgeing},
	{66, "Frames to 01-80-C2-00-00-00 to 0F are not forwarded", "IEEE 802.1D section 7.12.6", "", checkReserved},
	{67, "No frame is lost, duplicated or overtaken; broadcasts reach each port once", "IEEE 802.1D section 6.3", "", checkSequence},
	{68, "A VLAN tag is kept, or the frame dropped", "IEEE 802.1Q", "", checkTags},
	{69, "Oversize frames are dropped; short ones and all types pass", "IEEE 802.3", "", checkSizes},
}

// segment is the default network with a third endpoint, and a capture at each.
type segment struct {
	h                   *host
	atNS1, atNS2, atNS3 *capture
	own, other, third   packet.MAC // of ns1, ns2, ns3
	gateway             packet.MAC
	marks               uint32
}

func upSegment(h *host) *segment {
	h.t.Helper()
	return upSegmentAs(h, func(file string) string { return file })
}

// upOpenSegment is upSegment with endpoints, ns1 and ns3, behind which there may be others: their MACs are not all known.
func upOpenSegment(h *host) *segment {
	h.t.Helper()
	return upSegmentAs(h, func(file string) string {
		for _, end := range []string{"15.1]", "15.3]"} {
			file = strings.Replace(file, end+"}", end+", source-guard: false}", 1)
		}
		return file
	})
}

func upSegmentAs(h *host, edit func(string) string) *segment {
	h.t.Helper()
	if h.six {
		h.upFile(edit(network6 + "      - {namespace: ns3, addresses: [192.168.15.3, fd00:15::3]}\n"))
	} else {
		h.upFile(edit(network + "      - {namespace: ns3, addresses: [192.168.15.3]}\n"))
		h.run("ns3", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	}
	return &segment{
		h:     h,
		atNS1: h.capture("ns1", "veth-ns1"), atNS2: h.capture("ns2", "veth-ns2"), atNS3: h.capture("ns3", "veth-ns3"),
		own: h.mac("ns1", "veth-ns1"), other: h.mac("ns2", "veth-ns2"), third: h.mac("ns3", "veth-ns3"), gateway: h.mac("", "br1"),
	}
}

// send sends a frame of ns1.
func (s *segment) send(data []byte) { s.h.t.Helper(); s.h.inject("ns1", "veth-ns1", data) }

// Local experimental: no stack has to do with it (IEEE 802 section 9.2.3).
const experimental = 0x88b5

// frame is a frame of ns1 of its own, by its number, and what to know it by.
func (s *segment) frame(to packet.MAC, etherType uint16, length int) ([]byte, func(frame) bool) {
	s.marks++
	data := numbered(to, s.own, etherType, s.marks, length)
	return data, marked(data[6:18])
}

// numbered is a frame with a number, which stands behind the type.
func numbered(to, from packet.MAC, etherType uint16, number uint32, length int) []byte {
	data := make([]byte, max(length, 18))
	copy(data, to[:])
	copy(data[6:], from[:])
	binary.BigEndian.PutUint16(data[12:], etherType)
	binary.BigEndian.PutUint32(data[14:], number)
	return data
}

// fence returns when what ns1 has sent has arrived at ns2 and ns3 and the host, or will not.
func (s *segment) fence() {
	s.h.t.Helper()
	for _, to := range []struct {
		mac packet.MAC
		at  *capture
	}{{s.other, s.atNS2}, {s.third, s.atNS3}, {packet.Broadcast, s.atNS2}} {
		data, match := s.frame(to.mac, experimental, 60)
		s.send(data)
		to.at.wait("further frame of ns1", 1, func(f frame) bool { return !f.Sent && match(f) })
	}
	s.h.fence("ns1")
}

// replies matches ARP replies that were received.
func replies(f frame) bool {
	return !f.Sent && f.ARP() != nil && f.ARP().Operation == layers.ARPReply
}
