// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net"
	"testing"

	"flyover/test/packet"
)

// broadcast is a packet that only hosts of one link may see.
type broadcast struct {
	name string
	addr string // empty: as it is
	mac  bool   // of the frame
}

var broadcasts = []broadcast{
	{"limited broadcast", "255.255.255.255", false},
	{"limited broadcast in a broadcast frame", "255.255.255.255", true},
	{"broadcast of the network", "192.168.15.255", false},
	{"broadcast of the network in a broadcast frame", "192.168.15.255", true},
	{"broadcast of the uplink", "203.0.113.255", false},
	{"broadcast of the uplink in a broadcast frame", "203.0.113.255", true},
	{"unicast in a broadcast frame", "", true},
}

// checkBroadcasts sends each from ns1 and looks outside, and from outside and looks inside.
func checkBroadcasts(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	p.fence() // the packets that follow would pass, but for their destinations
	for _, b := range broadcasts {
		for _, s := range p.sides() {
			h.part(s.name+", "+b.name, func() {
				mark := p.mark()
				s.send(b.of(s.make(mark)).Bytes())
				p.fence()
				s.at.none("is routed", marked(mark))
				if s.at == p.atNS1 {
					p.atNS2.none("is routed", marked(mark))
				}
			})
		}
	}
}

func (b broadcast) of(o *packet.Packet) *packet.Packet {
	if b.addr != "" {
		o.IPv4.DstIP = net.ParseIP(b.addr)
	}
	if b.mac {
		o.Ethernet.DstMAC = packet.Broadcast[:]
	}
	return o
}
