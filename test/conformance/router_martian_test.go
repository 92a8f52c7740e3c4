// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net"
	"net/netip"
	"testing"
)

// martians are sources that no packet from anywhere may have, besides the host's own addresses.
var martians = []string{"0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", addrUplink, addrGateway}

func checkMartians(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	for _, source := range martians {
		h.part("from inside, source "+source, func() {
			mark := p.mark()
			o := p.out(mark)
			o.IPv4.SrcIP = net.ParseIP(source)
			p.sendOut(o.Bytes())
			p.fence()
			h.atOutside.none("passes", marked(mark))
		})
		h.part("from the uplink, source "+source, func() { checkMartianIn(p, source) })
	}
	h.part("from inside, destination 127.0.0.1", func() {
		checkLoopback(p, p.sides()[0], addrGateway)
	})
	h.part("from the uplink, destination 127.0.0.1", func() {
		checkLoopback(p, p.sides()[1], addrUplink)
	})
}

// checkMartianIn sends to the source first, so that a packet from there would be a reply: it is to be dropped for its source.
func checkMartianIn(p *path, source string) {
	first, mark := p.mark(), p.mark()
	o := p.out(first)
	o.IPv4.DstIP = net.ParseIP(source)
	p.sendOut(o.Bytes())
	p.fence()
	i := p.in(mark)
	i.IPv4.SrcIP = net.ParseIP(source)
	if sent := p.h.atOutside.All(marked(first)); len(sent) > 0 {
		i.SetDestination(sent[0].Source())
	}
	p.sendIn(i.Bytes())
	p.fence()
	p.atNS1.none("passes", marked(mark))
}

// checkLoopback sends to a socket of the host's that takes what comes to any address, and gets what comes to a right one.
func checkLoopback(p *path, s side, right string) {
	const port = 999
	wrong, fence := p.mark(), p.mark()
	socket := p.h.udp("", "0.0.0.0:999")
	defer socket.Close()
	for _, to := range []struct {
		addr string
		mark []byte
	}{{"127.0.0.1", wrong}, {right, fence}} {
		o := s.make(to.mark)
		o.SetDestination(netip.AddrPortFrom(netip.MustParseAddr(to.addr), port))
		s.send(o.Bytes())
	}
	if got, _ := p.h.receive(socket, "datagram to the host"); string(got) != string(fence) {
		p.h.Failf("is delivered to the host")
	}
	p.h.atOutside.none("passes", marked(wrong))
}
