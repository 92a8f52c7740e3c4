// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"
)

func checkOverloading(_ *testing.T, h *host) {
	h.upDefault()
	h.part("UDP", func() { checkUDPOverloading(h) })
	h.part("TCP", func() { checkTCPOverloading(h) })
	h.part("one port in all", func() { checkOnePort(h) })
}

func checkUDPOverloading(h *host) {
	h.t.Helper()
	remotes := h.addr.remotes()
	server := h.udp(outside, remotes[0])
	ns1, ns2 := h.udp("ns1", at(h.addr.ns1, 5000).String()), h.udp("ns2", at(h.addr.ns2, 5000).String())
	ports := []uint16{h.mapped(ns1, remotes[0]), h.mapped(ns2, remotes[0])}
	if ports[0] == ports[1] {
		h.Failf("two endpoints share a port towards one remote")
	}
	for i, client := range []*net.UDPConn{ns1, ns2} {
		h.send(server, at(h.addr.uplink, ports[i]).String(), []byte{byte(i)})
		if data, _ := h.receive(client, "reply"); len(data) != 1 || data[0] != byte(i) {
			h.Failf("a reply goes to another endpoint")
		}
	}
	if h.mapped(h.udp("ns1", at(h.addr.ns1, 5001).String()), remotes[0]) == h.mapped(h.udp("ns2", at(h.addr.ns2, 5001).String()), remotes[2]) {
		h.Failf("two endpoints share a port towards two remotes")
	}
}

func checkTCPOverloading(h *host) {
	h.t.Helper()
	first, second := at(h.addr.outside, 80).String(), at(h.addr.second, 80).String()
	if h.tcpMapped("ns1", at(h.addr.ns1, 6000).String(), first) == h.tcpMapped("ns2", at(h.addr.ns2, 6000).String(), first) {
		h.Failf("two endpoints share a port towards one remote")
	}
	if h.tcpMapped("ns1", at(h.addr.ns1, 6001).String(), first) == h.tcpMapped("ns2", at(h.addr.ns2, 6001).String(), second) {
		h.Failf("two endpoints share a port towards two remotes")
	}
}

func checkOnePort(h *host) {
	h.t.Helper()
	remotes := h.addr.remotes()
	h.ports(20000, 20000)
	ns1, ns2 := h.udp("ns1", at(h.addr.ns1, 5100).String()), h.udp("ns2", at(h.addr.ns2, 5100).String())
	if h.mapped(ns1, remotes[0]) != 20000 {
		h.Failf("a port outside the range is used")
	}
	h.refused(ns2, remotes[0], "datagram of an endpoint for which no port is left")
	h.refused(ns2, remotes[2], "datagram to another remote, of an endpoint for which no port is left,")
	if h.mapped(ns1, remotes[0]) != 20000 {
		h.Failf("the endpoint that has the port loses it")
	}
}

func checkPortRange(_ *testing.T, h *host) {
	h.upDefault()
	remotes := h.addr.remotes()
	h.udpServers(remotes[:1])
	const high = 1024
	h.part("above", func() {
		r := rand.New(rand.NewPCG(1, 2))
		for _, namespace := range []string{"ns1", "ns2"} {
			var sources []uint16
			for _, n := range r.Perm(1<<16 - high)[:2500] {
				sources = append(sources, uint16(high+n))
			}
			for _, port := range h.bulk(namespace, sources, remotes[0]) {
				if port < high {
					h.Failf("a source port above 1023 gets one below 1024")
				}
			}
		}
	})
	h.part("below", func() {
		for _, port := range h.bulk("ns1", sequence(600, 20), remotes[0]) {
			if port >= high {
				h.Failf("a source port below 1024 gets one above 1023")
			}
		}
	})
}

// Another endpoint has all of the source ports already, so that a NAT that keeps ports has to change them, too. Each bound is at
// more than 4 standard deviations of what independent and uniform ports give.
func checkRandomPorts(_ *testing.T, h *host) {
	const n = 2000
	h.upDefault()
	remotes := h.addr.remotes()
	h.udpServers(remotes[:1])
	sources := sequence(20000, n)
	h.bulk("ns2", sources, remotes[0])
	ports := h.bulk("ns1", sources, remotes[0])
	sigma := 1 / math.Sqrt(n)
	if r := lagOne(ports); math.Abs(r) > 4.5*sigma {
		h.t.Logf("lag-1 correlation %.3f", r)
		h.Failf("a port tells of the one before")
	}
	runs, parity, next := 0.0, 0.0, 0
	for i := 1; i < n; i++ {
		if i > 1 && (ports[i] > ports[i-1]) != (ports[i-1] > ports[i-2]) {
			runs++
		}
		if (ports[i]^sources[i])&1 == 0 {
			parity++
		}
		if i > 1 && ports[i]-ports[i-1] == ports[i-1]-ports[i-2] || ports[i]-ports[i-1] == 1 {
			next++
		}
	}
	// Of n ports, 2n/3 turn the direction, with a variance of 8n/45.
	if math.Abs(runs-2*n/3) > 4.5*math.Sqrt(8*n/45) {
		h.t.Logf("%.0f turns", runs)
		h.Failf("ports go up and down in a pattern")
	}
	if math.Abs(parity-n/2) > 4.5*math.Sqrt(n)/2 {
		h.t.Logf("%.0f of %d keep the parity", parity, n)
		h.Failf("ports have the parity of the source port")
	}
	if next > 5 {
		h.t.Logf("%d of %d ports are next to, or as far from the last as that from the one before", next, n)
		h.Failf("the next port can be guessed")
	}
}

// lagOne is the correlation of each port with the next.
func lagOne(ports []uint16) float64 {
	var mean float64
	for _, p := range ports {
		mean += float64(p) / float64(len(ports))
	}
	var covariance, variance float64
	for i, p := range ports {
		d := float64(p) - mean
		variance += d * d
		if i > 0 {
			covariance += d * (float64(ports[i-1]) - mean)
		}
	}
	if variance == 0 {
		return 1
	}
	return covariance / variance
}

// The endpoint uses the port of the host's service towards a remote; what the remote then sends there is the service's.
func checkHostSocket(_ *testing.T, h *host) {
	h.upDefault()
	remotes := h.addr.remotes()
	h.part("UDP", func() {
		service, server := h.udp("", at(h.addr.uplink, 1194).String()), h.udp(outside, remotes[0])
		client := h.udp("ns1", at(h.addr.ns1, 1194).String())
		h.mapped(client, remotes[0])
		h.send(server, at(h.addr.uplink, 1194).String(), []byte("for the service"))
		h.receive(service, "datagram at the host's socket")
		h.nothing(client, "datagram to the host's socket")
	})
	h.part("TCP", func() {
		service := h.tcpListen("", at(h.addr.uplink, 8080).String())
		h.tcpMapped("ns1", at(h.addr.ns1, 8080).String(), at(h.addr.outside, 90).String())
		h.tcpDial(outside, at(h.addr.outside, 90).String(), at(h.addr.uplink, 8080).String())
		h.tcpAccept(service, "connection at the host's socket")
	})
}

// The endpoint that had the port is not asked for: only others have to wait.
func checkHeldPort(_ *testing.T, h *host) {
	h.upDefault()
	remotes := h.addr.remotes()
	h.ports(20000, 20000)
	ns1, ns2 := h.udp("ns1", at(h.addr.ns1, 5000).String()), h.udp("ns2", at(h.addr.ns2, 5000).String())
	h.mapped(ns1, remotes[0])
	h.refused(ns2, remotes[0], "datagram of an endpoint while another one has the only port")
	h.age(310 * time.Second) // the mapping ends
	h.refused(ns2, remotes[0], "datagram of another endpoint from a port just freed")
	h.age(100 * time.Second)
	h.refused(ns2, remotes[0], "datagram of another endpoint from a port freed 100 seconds ago")
	h.age(30 * time.Second)
	if h.mapped(ns2, remotes[0]) != 20000 {
		h.Failf("a port outside the range is used")
	}
}

// The endpoint opens as many as it may, and one more.
func checkLimits(_ *testing.T, h *host) {
	const limit = 1000
	if h.ebpf {
		h.up("limits: {sessions: 1000, mappings: 1000}")
	} else {
		h.upDefault()
	}
	remotes := h.addr.remotes()
	h.udpServers(remotes[:1])
	atNS1 := h.capture("ns1", "veth-ns1")
	h.bulk("ns1", sequence(20000, limit), remotes[0])
	client := h.udp("ns1", at(h.addr.ns1, 5000).String())
	h.refused(client, remotes[0], "datagram of an endpoint beyond 1000 ports")
	prohibited := h.icmp().prohibited
	f := atNS1.wait(fmt.Sprintf("%v to the endpoint", prohibited), 1, isMessage(prohibited))[0]
	if src, _ := f.Addrs(); src.String() != h.addr.gateway || f.WrongChecksum() != "" {
		h.Failf("the ICMP error is not from the gateway, or its checksum is wrong")
	}
	h.mapped(h.udp("ns2", at(h.addr.ns2, 5000).String()), remotes[0])
	h.bulk("ns1", sequence(20000, limit), remotes[0])
}

func checkExempt(_ *testing.T, h *host) {
	h.part("conflicting range", func() {
		h.upDefault()
		h.run("", "ip", "addr", "add", h.addr.ofNetwork, "dev", "eth0", "nodad")
		defer h.run("", "ip", "addr", "del", h.addr.ofNetwork, "dev", "eth0")
		if out, err := h.tryUp(h.network()); err == nil {
			h.t.Log(out)
			h.Failf("an uplink that is given an address of the network is accepted without a word")
		}
	})
	h.part("exempt destination", func() { checkExemptDestination(h) })
}

// checkExemptDestination lets the second address of the outside be reached without translation.
func checkExemptDestination(h *host) {
	remotes := h.addr.remotes()
	if h.ebpf {
		second := netip.MustParseAddr(h.addr.second)
		h.up(fmt.Sprintf("exempt: [%v]", netip.PrefixFrom(second, second.BitLen())))
	} else {
		h.upDefault()
		h.nftInsert(h.addr.table(), "daddr", h.addr.second, "accept")
	}
	h.run(outside, "ip", "route", "replace", h.addr.inside().String(), "via", h.addr.uplink)
	atSecond := h.capture(outside, "eth0")
	h.exempt = append(h.exempt, h.addr.second)
	mark, own := newMark(), at(h.addr.ns1, 5000)
	h.send(h.udp("ns1", own.String()), remotes[2], mark)
	if f := atSecond.wait("datagram to the exempt destination", 1, marked(mark))[0]; f.Source() != own {
		h.Failf("a datagram to an exempt destination is translated")
	}
	h.mapped(h.udp("ns1", at(h.addr.ns1, 5001).String()), remotes[0])
}
