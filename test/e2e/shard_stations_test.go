// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/lab/labtest"
	"flyover/test/wire"
)

// Stations are behind endpoints of further bridges, talk to everybody on all of them, and move from one to another.
func TestShardsStations(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		shardedUp(t, tcx, nested, 1)
		sealed(t)
		nestBridges(t)
		stationsTalk(t, "br1+1")
		stationsStayInside(t)
		stationMoves(t)
	})
}

// No MAC of the host's devices leads from a further bridge past what the programs look at, where stations may be: the network beside it is isolated.
func TestShardsIsolated(t *testing.T) {
	const beside = `  - name: br2
    subnets: [192.168.16.0/24]
    gateway: 192.168.16.10
    endpoints:
      - {namespace: ns4, addresses: [192.168.16.4]}
`
	labtest.Alone(t, func(t *testing.T) {
		shardedUp(t, tcx, nested+beside, 1)
		fd, err := wire.Socket("ns3", "veth-ns3", 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		i := injector{fd: fd, own: hardware(t, "ns3", "veth-ns3")}
		from, to := netip.MustParseAddr("192.168.15.3"), netip.MustParseAddr("192.168.16.4")
		at := openCapture(t, "ns4", "veth-ns4")
		for _, device := range []string{"br1", "br1+2", "br1+2d", "br1+2u", "br1+1d", "br1+1u", "veth-ns3-br", "veth-ns1-br"} {
			i.send(t, append([]gopacket.SerializableLayer{ethernet(i.own, hardware(t, "", device), layers.EthernetTypeIPv4)}, udp(from, to)...)...)
		}
		talk(t, "ns3", addrGateway) // by the same ways as the others before
		talk(t, "", to)
		at.none(t, "packet of ns3", between(from, to))
	})
}
