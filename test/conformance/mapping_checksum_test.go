// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

func checkUDPZero(_ *testing.T, h *host) {
	h.upDefault()
	for _, s := range openPath(h).sides() {
		h.part(s.name+", none", func() { checkNoChecksum(h, s) })
		h.part(s.name+", zero", func() { checkZeroChecksum(h, s) })
	}
}

func checkNoChecksum(h *host, s side) {
	h.t.Helper()
	mark := newMark()
	p := s.make(mark)
	p.NoChecksum = true
	s.send(p.Bytes())
	if got := s.at.wait("datagram without a checksum", 1, marked(mark))[0]; got.UDP().Checksum != 0 {
		h.Failf("a datagram without a checksum gets one")
	}
}

// The payload ends in what makes the sum zero at the receiver, and not at the sender.
func checkZeroChecksum(h *host, s side) {
	h.t.Helper()
	payload := append(newMark(), 0, 0)
	copy(payload[len(payload)-2:], s.seen(payload).Bytes()[40:42])
	s.send(s.make(payload).Bytes())
	if got := s.at.wait("datagram whose sum is zero", 1, marked(payload))[0]; got.UDP().Checksum != 0xffff {
		h.t.Log(got)
		h.Failf("a computed checksum of 0 is not sent as FFFF")
	}
}

// What is checked here besides is that nothing wrong is seen inside; the outside is looked at in each row.
func checkOffloads(_ *testing.T, h *host) {
	h.upBoth("")
	atNS1 := h.capture("ns1", "veth-ns1")
	h.part("random packets", func() { h.eachFamily(func() { sendRandom(h) }) })
	for n := range 8 {
		tx, tso, gro := onOff(n&1), onOff(n&2), onOff(n&4)
		h.part(fmt.Sprintf("tx %s, tso %s, gro %s", tx, tso, gro), func() {
			h.senderOffloads(tx, tso, gro)
			h.eachFamily(h.exchange)
		})
	}
	h.part("all on", func() {
		h.offloads("on")
		h.eachFamily(h.exchange)
	})
	atNS1.none("wrong checksum inside", func(f frame) bool { return !f.Sent && f.WrongChecksum() != "" })
}

func onOff(bit int) string {
	if bit != 0 {
		return "on"
	}
	return "off"
}

// senderOffloads sets the offloads of the first senders, and how packets are joined on their way. The interfaces of the host finish
// what the senders leave to do. What an interface cannot do is left as it is.
func (h *host) senderOffloads(tx, tso, gro string) {
	h.t.Helper()
	for _, link := range links {
		if link[0] == "" {
			h.run("", "ethtool", "-K", link[1], "tx", "off")
			_, _ = h.try("", "ethtool", "-K", link[1], "gro", gro)
		} else {
			_, _ = h.try(link[0], "ethtool", "-K", link[1], "tx", tx, "tso", tso, "gso", tso, "gro", gro)
		}
	}
}

// exchange sends by UDP and TCP, both ways, and wants all of it whole.
func (h *host) exchange() {
	h.t.Helper()
	remote := h.addr.remotes()[0]
	server, client := h.udp(outside, remote), h.udp("ns1", at(h.addr.ns1, 5000).String())
	defer server.Close()
	defer client.Close()
	for _, size := range []int{0, 1, 2, 999, 1000, 1500 - 8 - h.addr.header()} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		h.send(client, remote, data)
		got, from := h.receive(server, "datagram at the outside")
		h.send(server, from.String(), got)
		if back, _ := h.receive(client, "reply"); !bytes.Equal(back, data) {
			h.Failf("a reply is not what was sent")
		}
	}
	l := h.tcpListen(outside, at(h.addr.outside, 80).String())
	defer l.Close()
	conn := h.tcpDial("ns1", at(h.addr.ns1, 0).String(), at(h.addr.outside, 80).String())
	accepted := h.tcpAccept(l, "connection at the outside")
	if !transfers(conn, accepted, 256<<10) || !transfers(accepted, conn, 256<<10) {
		h.Failf("256 KiB do not arrive whole by TCP")
	}
}

// sendRandom sends packets of random ports and contents and wants each at the outside.
func sendRandom(h *host) {
	h.t.Helper()
	const n = 600
	r := rand.New(rand.NewPCG(3, 4))
	mark := newMark()
	ends := h.fromNS1(at(h.addr.ns1, 1).String(), at(h.addr.outside, 1).String())
	protocols := []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolTCP, h.icmp().protocol}
	for i := range n {
		ends.Source = at(h.addr.ns1, uint16(1024+r.IntN(64512)))
		ends.Destination = at(h.addr.outside, uint16(1+r.IntN(65535)))
		data := append([]byte(nil), mark...)
		for range r.IntN(1400) {
			data = append(data, byte(r.Uint32()))
		}
		p := packet.New(protocols[i%3], ends, data)
		if p.TCP != nil {
			p.TCP.SYN, p.TCP.ACK, p.TCP.Ack = true, false, 0
		}
		h.inject("ns1", "veth-ns1", p.Bytes())
	}
	h.atOutside.wait("random packets at the outside", n, func(f frame) bool {
		src, dst := f.Addrs()
		return marked(mark)(f) && src.String() == h.addr.uplink && dst.String() == h.addr.outside
	})
}
