// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/packet"
	"flyover/test/wire"
)

// newMark is a payload that nothing else has.
func newMark() []byte {
	return fmt.Appendf(nil, "<%016x>", rand.Uint64())
}

// mapped sends a datagram and returns the port that the outside sees. The row fails if it does not arrive, or from another address.
func (h *host) mapped(from *net.UDPConn, to string) uint16 {
	h.t.Helper()
	mark := newMark()
	h.send(from, to, mark)
	f := h.atOutside.wait("datagram at the outside", 1, marked(mark))[0]
	if f.Source().Addr().String() != h.addr.uplink || f.Destination().String() != to {
		h.t.Log(f)
		h.Failf("a datagram does not arrive from the uplink's address where it was sent to")
	}
	return f.Source().Port()
}

// refused sends a datagram that must not arrive.
func (h *host) refused(from *net.UDPConn, to, what string) {
	h.t.Helper()
	mark := newMark()
	h.send(from, to, mark)
	h.fence("ns1")
	h.atOutside.none(what+" arrives", marked(mark))
}

// tcpMapped connects to a server that it starts, sends an octet each way, and returns the client as the server sees it. The
// connection stays.
func (h *host) tcpMapped(namespace, local, server string) netip.AddrPort {
	h.t.Helper()
	l := h.tcpListen(outside, server)
	defer l.Close()
	client := h.tcpDial(namespace, local, server)
	accepted := h.tcpAccept(l, "connection at the server")
	buffer := []byte{1}
	for _, way := range [][2]*net.TCPConn{{client, accepted}, {accepted, client}} {
		if _, err := way[0].Write(buffer); err != nil {
			h.Failf("a TCP connection breaks")
		}
		if _, err := way[1].Read(buffer); err != nil {
			h.Failf("a TCP connection carries no data")
		}
	}
	seen := accepted.RemoteAddr().(*net.TCPAddr).AddrPort()
	if seen.Addr().String() != h.addr.uplink {
		h.Failf("a TCP connection does not arrive from the uplink's address")
	}
	return seen
}

// udpServers are sockets at the outside's addresses, so that they answer with nothing.
func (h *host) udpServers(addrs []string) []*net.UDPConn {
	h.t.Helper()
	var servers []*net.UDPConn
	for _, addr := range addrs {
		servers = append(servers, h.udp(outside, addr))
	}
	return servers
}

// ports confines masquerading to a range of ports: by flyover's configuration, or by a rule of nftables.
func (h *host) ports(first, last uint16) {
	h.t.Helper()
	if h.ebpf {
		h.up(fmt.Sprintf("ports: %d-%d", first, last))
		return
	}
	h.nftInsert(h.addr.table(), "saddr", h.addr.inside().String(), "oifname", "eth0",
		"meta", "l4proto", "{", "tcp,", "udp", "}", "masquerade", "to", fmt.Sprintf(":%d-%d", first, last))
}

// nftInsert puts a rule before those of the kernel datapath, of the family that the row is about.
func (h *host) nftInsert(rule ...string) {
	h.t.Helper()
	h.run("", append([]string{"nft", "insert", "rule", h.addr.table(), "flyover", "postrouting"}, rule...)...)
}

// sequence is n numbers.
func sequence(first, n int) []uint16 {
	s := make([]uint16, n)
	for i := range s {
		s[i] = uint16(first + i)
	}
	return s
}

// bulk sends one datagram each from many source ports of a namespace, in order, and returns the ports that the outside sees, in the
// same order. The row fails if one is missing.
func (h *host) bulk(namespace string, sources []uint16, to string) []uint16 {
	h.t.Helper()
	seen := h.tryBulk(namespace, sources, to)
	if len(seen) < len(sources) {
		h.t.Logf("%d of %d arrive", len(seen), len(sources))
		h.Failf("not all of %d datagrams arrive", len(sources))
	}
	ports := make([]uint16, len(sources))
	for i, source := range sources {
		ports[i] = seen[source]
	}
	return ports
}

// tryBulk is bulk for datagrams that may be refused: the ports by source port.
func (h *host) tryBulk(namespace string, sources []uint16, to string) map[uint16]uint16 {
	h.t.Helper()
	device := "veth-" + namespace
	fd, err := wire.Socket(namespace, device, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer unix.Close(fd)
	mark := newMark()
	ends := h.ends(h.mac(namespace, device), h.mac("", "br1"), at(h.addr.of(namespace), 1).String(), to)
	for _, source := range sources {
		ends.Source = netip.AddrPortFrom(ends.Source.Addr(), source)
		data := packet.New(layers.IPProtocolUDP, ends, binary.BigEndian.AppendUint16(mark, source)).Bytes()
		if _, err := unix.Write(fd, data); err != nil {
			h.t.Fatal(err)
		}
	}
	h.fence(namespace)
	seen := map[uint16]uint16{}
	for _, f := range h.atOutside.All(marked(mark)) {
		if payload := f.UDP().Payload; f.Source().Addr().String() == h.addr.uplink {
			seen[binary.BigEndian.Uint16(payload[len(payload)-2:])] = f.Source().Port()
		}
	}
	return seen
}
