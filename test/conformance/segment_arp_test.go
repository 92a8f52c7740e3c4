// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"flyover/test/lab"
	"flyover/test/packet"
)

func (s *segment) request(target string) *packet.Packet {
	return packet.ARPRequest(s.own, netip.MustParseAddr(addrNS1), netip.MustParseAddr(target))
}

// asks sends a frame and returns the ARP replies that ns1 gets.
func (s *segment) asks(data []byte) []frame {
	s.h.t.Helper()
	before := len(s.atNS1.All(replies))
	s.send(data)
	s.fence()
	return s.atNS1.All(replies)[before:]
}

func checkARPAnswer(_ *testing.T, h *host) {
	s := upSegment(h)
	s.fence() // the stacks know each other
	got := s.asks(s.request(addrGateway).Bytes())
	if len(got) != 1 {
		h.Failf("%d answers", len(got))
	}
	want := packet.ARPReply(s.gateway, netip.MustParseAddr(addrGateway), s.own, netip.MustParseAddr(addrNS1)).Bytes()
	if diff := packet.Diff(want, got[0].Data()[:len(want)]); diff != "" {
		h.t.Log(diff)
		h.Failf("a field of the answer is wrong")
	}
	toNS1 := func(f frame) bool { return replies(f) && bytes.Equal(f.Data()[:6], s.own[:]) }
	for _, at := range []*capture{s.atNS2, s.atNS3} {
		at.none("another endpoint sees the answer", toNS1)
		if h.ebpf {
			at.none("another endpoint sees the question", func(f frame) bool {
				return !f.Sent && f.ARP() != nil && bytes.Equal(f.ARP().SourceHwAddress, s.own[:])
			})
		}
	}
}

func checkARPMalformed(_ *testing.T, h *host) {
	s := upSegment(h)
	set := func(at int, value byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = value; return b }
	}
	for name, change := range map[string]func([]byte) []byte{
		"hardware length 8": set(18, 8), "protocol length 16": set(19, 16), "operation 0": set(21, 0), "operation 9": set(21, 9),
		"truncated": func(b []byte) []byte { return b[:40] },
	} {
		h.part(name, func() {
			for _, sender := range []string{addrNS1, "192.168.15.77"} {
				request := packet.ARPRequest(s.own, netip.MustParseAddr(sender), netip.MustParseAddr(addrGateway))
				if len(s.asks(change(request.Bytes()))) > 0 {
					h.Failf("is answered")
				}
			}
			if h.run("", "ip", "neigh", "show", "192.168.15.77") != "" {
				h.Failf("is learned from")
			}
		})
	}
	h.part("reply with a multicast MAC", func() { wantNoMulticastNeighbour(s) })
}

// wantNoMulticastNeighbour sends replies to ns2, which knows ns1 already, and so would believe better ones.
func wantNoMulticastNeighbour(s *segment) {
	h := s.h
	h.run("ns2", "sysctl", "-qw", "net.ipv4.neigh.veth-ns2.locktime=0")
	h.run("ns2", "ping", "-c", "1", "-W", "5", addrNS1)
	multicast := packet.MAC{1, 0, 0x5e, 0, 0, 9}
	reply := packet.ARPReply(multicast, netip.MustParseAddr(addrNS1), s.other, netip.MustParseAddr(addrNS2))
	reply.Ethernet.SrcMAC = s.own[:]
	s.send(reply.Bytes())
	s.fence()
	if strings.Contains(h.run("ns2", "ip", "neigh", "show", addrNS1), macText(multicast)) {
		h.Failf("is believed")
	}
}

func checkARPProbe(_ *testing.T, h *host) {
	s := upSegment(h)
	probe := func(target string) []byte {
		return packet.ARPRequest(s.own, netip.Addr{}, netip.MustParseAddr(target)).Bytes()
	}
	if len(s.asks(probe(addrNS1))) > 0 {
		h.Failf("a probe for the endpoint's own address is answered")
	}
	for _, taken := range []string{addrNS2, addrGateway} {
		if len(s.asks(probe(taken))) != 1 {
			h.Failf("a probe for the address of another is not answered once")
		}
	}
}

// checkARPProxy asks for all of the network, and for some of what is elsewhere.
func checkARPProxy(_ *testing.T, h *host) {
	s := upSegment(h)
	h.part("the network's addresses", func() {
		for n := range 256 {
			s.send(s.request(fmt.Sprintf("192.168.15.%d", n)).Bytes())
		}
		s.fence()
		seen := map[string]int{}
		for _, f := range s.atNS1.All(replies) {
			sender, _ := netip.AddrFromSlice(f.ARP().SourceProtAddress)
			seen[sender.String()]++
		}
		for _, there := range []string{addrNS2, "192.168.15.3", addrGateway} {
			if seen[there] == 0 {
				h.Failf("no answer for %s", there)
			}
			delete(seen, there)
		}
		if len(seen) > 0 {
			h.t.Log(seen)
			h.Failf("answers for addresses that nobody has")
		}
	})
	for _, elsewhere := range []string{addrUplink, addrOutside, "198.51.100.7", "127.0.0.1"} {
		h.part(elsewhere, func() {
			if len(s.asks(s.request(elsewhere).Bytes())) > 0 {
				h.Failf("is answered for, and not on this network")
			}
		})
	}
}

// checkARPQueue lets everybody forget everybody before each datagram.
func checkARPQueue(_ *testing.T, h *host) {
	h.upDefault()
	for _, to := range []struct{ namespace, addr string }{{"ns2", addrNS2}, {outside, addrOutside}} {
		h.part("to "+to.namespace, func() {
			server, client := h.udp(to.namespace, to.addr+":4000"), h.udp("ns1", addrNS1+":4001")
			defer client.Close()
			for range 5 {
				h.run("ns1", "ip", "neigh", "flush", "all")
				h.run("", "ip", "neigh", "flush", "dev", lab.Uplink)
				h.send(client, to.addr+":4000", []byte("first"))
				h.receive(server, "first datagram")
			}
		})
	}
}
