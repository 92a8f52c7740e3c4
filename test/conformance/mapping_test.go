// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"
	"testing"

	"flyover/test/packet"
)

// lowPorts is why flyover does not do what RFC 4787 REQ-3a recommends for source ports below 1024.
const lowPorts = "A source port below 1024 gets a higher one: below 1024 are the host's own services, and a mapping there could take " +
	"the place of one that is started later (CVE-2021-3773)."

var mappingRows = []row{
	{1, "UDP mapping is endpoint-independent, of IPv4 and IPv6", "RFC 4787 REQ-1", "", both(checkUDPMapping)},
	{2, "TCP mapping is endpoint-independent, of IPv4 and IPv6", "RFC 5382 REQ-1", "", both(checkTCPMapping)},
	{3, "ICMP query mapping is host-independent, of IPv4 and IPv6", "RFC 5508 REQ-1a", "", both(checkICMPMapping)},
	{4, "No two inside ends share a port, of IPv4 and IPv6", "RFC 4787 REQ-3, RFC 5382 REQ-7", "", both(checkOverloading)},
	{5, "Behaviour does not change with load or collisions, of IPv4 and IPv6", "RFC 4787 REQ-11", "", both(checkDeterminism)},
	{6, "Ports stay in the range of the source port, below 1024 or above, of IPv4 and IPv6", "RFC 4787 REQ-3a", lowPorts, both(checkPortRange)},
	{7, "Ports that have to change are random, of IPv4 and IPv6", "RFC 7857 section 9, RFC 6056", "", both(checkRandomPorts)},
	{8, "Filtering is address-dependent, endpoint-independent if configured, of IPv4 and IPv6",
		"RFC 4787 REQ-8, RFC 5382 REQ-3", "", both(checkFiltering)},
	{9, "UDP timer is at least 2 minutes, and 5 minutes by default, of IPv4 and IPv6", "RFC 4787 REQ-5", "", both(checkUDPTimer)},
	{10, "Packets from inside refresh a mapping, those from outside do not, of IPv4 and IPv6",
		"RFC 4787 REQ-6, RFC 7857 section 7", "", both(checkRefresh)},
	{11, "ICMP errors and RST from inside do not refresh a mapping, of IPv4 and IPv6", "RFC 7857 section 7.1", "", both(checkErrorRefresh)},
	{12, "UDP hairpinning, with the external source shown, of IPv4 and IPv6", "RFC 4787 REQ-9", "", both(checkUDPHairpin)},
	{13, "TCP hairpinning, with the external source shown, of IPv4 and IPv6", "RFC 5382 REQ-8", "", both(checkTCPHairpin)},
	{14, "UDP checksum 0 stays 0, a computed 0 is sent as FFFF", "RFC 768, RFC 3022 section 4.1", "", checkUDPZero},
	{15, "Checksums are right with all offloads, of IPv4 and IPv6", "RFC 3022 section 4.1, RFC 1624", "", checkOffloads},
	{16, "A port of a host socket is not used, of IPv4 and IPv6", "CVE-2021-3773", "", both(checkHostSocket)},
	{17, "Destinations can be exempt; conflicting ranges are refused, of IPv4 and IPv6", "RFC 6888 REQ-6, RFC 4787 REQ-7", "", both(checkExempt)},
	{18, "Ports and sessions can be limited for each endpoint, of IPv4 and IPv6", "RFC 6888 REQ-4, REQ-5", "", both(checkLimits)},
	{19, "A freed port is not given to others for 2 minutes, of IPv4 and IPv6", "RFC 6888 REQ-8", "", both(checkHeldPort)},
}

// taken is how the first three rows fail. Another endpoint has the same source port and comes first to the later remotes: a NAT
// that keeps ports where it can, and lets endpoints share one towards different remotes, has nothing left to keep there.
const taken = "another port towards another remote, after another endpoint has used the source port"

func checkUDPMapping(_ *testing.T, h *host) {
	h.upDefault()
	remotes := h.addr.remotes()
	client, servers := h.udp("ns1", at(h.addr.ns1, 5000).String()), h.udpServers(remotes)
	other := h.udp("ns2", at(h.addr.ns2, 5000).String())
	h.mapped(other, at(h.addr.second, 3480).String())
	port := h.mapped(client, remotes[0])
	for _, to := range remotes[1:] {
		h.mapped(other, to)
		if h.mapped(client, to) != port {
			h.Failf(taken)
		}
	}
	for _, server := range servers {
		h.send(server, at(h.addr.uplink, port).String(), []byte(server.LocalAddr().String()))
		if data, from := h.receive(client, "reply"); from.String() != string(data) {
			h.Failf("a reply is from another remote than it says")
		}
	}
}

func checkTCPMapping(_ *testing.T, h *host) {
	h.upDefault()
	var seen []netip.AddrPort
	for _, server := range []netip.AddrPort{at(h.addr.outside, 80), at(h.addr.outside, 81), at(h.addr.second, 80)} {
		if len(seen) > 0 {
			h.tcpMapped("ns2", at(h.addr.ns2, 6000).String(), server.String())
		}
		seen = append(seen, h.tcpMapped("ns1", at(h.addr.ns1, 6000).String(), server.String()))
	}
	if seen[0] != seen[1] || seen[0] != seen[2] {
		h.t.Log(seen)
		h.Failf(taken)
	}
}

func checkICMPMapping(_ *testing.T, h *host) {
	h.upDefault()
	atNS1 := h.capture("ns1", "veth-ns1")
	var ids []uint16
	own, other := at(h.addr.ns1, 77).String(), at(h.addr.ns2, 77).String()
	for _, remote := range []string{at(h.addr.outside, 77).String(), at(h.addr.second, 77).String()} {
		if len(ids) > 0 {
			h.echoed("ns2", h.fromNS2(other, remote))
		}
		ids = append(ids, h.echoed("ns1", h.fromNS1(own, remote)))
		atNS1.wait("echo reply with its identifier", 1, func(f frame) bool {
			return flow(remote, own)(f) && f.Message() != nil && f.Message().TypeCode.Type() == h.icmp().reply
		})
	}
	if ids[0] != ids[1] {
		h.Failf("another identifier towards another host, after another endpoint has used the identifier")
	}
}

// echoed sends an echo request and returns the identifier that the outside sees.
func (h *host) echoed(namespace string, ends packet.Ends) uint16 {
	h.t.Helper()
	mark := newMark()
	h.inject(namespace, "veth-"+namespace, packet.New(h.icmp().protocol, ends, mark).Bytes())
	return h.atOutside.wait("echo request at the outside", 1, marked(mark))[0].Message().Id
}

func checkDeterminism(_ *testing.T, h *host) {
	h.upDefault()
	remotes := h.addr.remotes()
	empty := h.mappingKind(5000, remotes)
	h.part("after a collision", func() {
		h.mapped(h.udp("ns2", at(h.addr.ns2, 5001).String()), remotes[1])
		h.wantKind(empty, 5001, remotes)
	})
	const first, last = 20000, 20099
	h.part("with most ports in use", func() {
		h.ports(first, last)
		h.bulk("ns2", sequence(30000, 94), remotes[0])
		h.wantKind(empty, 5002, remotes)
	})
	h.part("with all ports in use", func() {
		h.ports(first, last)
		h.tryBulk("ns2", sequence(31000, 10), remotes[0])
		if len(h.tryBulk("ns2", sequence(32000, 3), remotes[0])) > 0 {
			h.Failf("100 ports are enough for more than 100 inside ends")
		}
		h.wantKind(empty, 5002, []string{remotes[0], at(h.addr.second, 3480).String(), at(h.addr.second, 3481).String()})
	})
}

// wantKind compares a mapping's kind with what it is with an empty table.
func (h *host) wantKind(want string, source uint16, to []string) {
	h.t.Helper()
	if got := h.mappingKind(source, to); got != want {
		h.Failf("mapping is endpoint-%s, and endpoint-%s with an empty table", got, want)
	}
}

// mappingKind is independent or dependent, of endpoints, as seen of a source port of ns1.
func (h *host) mappingKind(source uint16, to []string) string {
	h.t.Helper()
	client := h.udp("ns1", at(h.addr.ns1, source).String())
	defer client.Close()
	port := h.mapped(client, to[0])
	for _, remote := range to[1:] {
		if h.mapped(client, remote) != port {
			return "dependent"
		}
	}
	return "independent"
}
