// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// Both have sent to the other's mapping before, so that no filter is in the way.
func checkUDPHairpin(_ *testing.T, h *host) {
	h.upDefault()
	remotes := h.addr.remotes()
	h.udpServers(remotes[:1])
	atNS1, atNS2 := h.capture("ns1", "veth-ns1"), h.capture("ns2", "veth-ns2")
	first, second := h.udp("ns1", at(h.addr.ns1, 5000).String()), h.udp("ns2", at(h.addr.ns2, 5000).String())
	firstSeen := at(h.addr.uplink, h.mapped(first, remotes[0])).String()
	secondSeen := at(h.addr.uplink, h.mapped(second, remotes[0])).String()
	h.send(second, firstSeen, []byte("to open the filter"))
	h.fence("ns2")
	_, _, _ = read(first, drained)
	for _, way := range []struct {
		from, to   *net.UDPConn
		mapped, at string
		seen       *capture
	}{{first, second, firstSeen, secondSeen, atNS2}, {second, first, secondSeen, firstSeen, atNS1}} {
		mark := newMark()
		h.send(way.from, way.at, mark)
		data, from := h.receive(way.to, "datagram to another endpoint's mapping")
		if from.String() != way.mapped || !bytes.Equal(data, mark) {
			h.t.Logf("%q from %s, want %s", data, from, way.mapped)
			h.Failf("the receiver does not see the sender's external address and port")
		}
		if way.seen.wait("datagram at the receiver", 1, marked(mark))[0].WrongChecksum() != "" {
			h.Failf("wrong checksum at the receiver")
		}
	}
}

// The server listens at a port that has a mapping, since it has connected from there.
func checkTCPHairpin(_ *testing.T, h *host) {
	h.upDefault()
	const size = 10 << 20
	client := h.tcpMapped("ns1", at(h.addr.ns1, 6000).String(), at(h.addr.outside, 80).String())
	server := h.tcpMapped("ns2", at(h.addr.ns2, 6000).String(), at(h.addr.outside, 80).String())
	// It sends a SYN to the client's mapping, so that no filter is in the way; nobody listens there.
	_, _ = h.tryDial("ns2", at(h.addr.ns2, 6000).String(), client.String(), 200*time.Millisecond)
	l := h.tcpListen("ns2", at(h.addr.ns2, 6000).String())
	conn := h.tcpDial("ns1", at(h.addr.ns1, 6000).String(), server.String())
	accepted := h.tcpAccept(l, "connection to another endpoint's mapping")
	if seen := accepted.RemoteAddr().String(); seen != client.String() {
		h.t.Logf("seen as %s, want %s", seen, client)
		h.Failf("the server does not see the client's external address and port")
	}
	if !transfers(conn, accepted, size) || !transfers(accepted, conn, size) {
		h.Failf("10 MiB do not arrive whole")
	}
}

// transfers sends n octets by a connection and says whether they arrive as they are.
func transfers(from, to *net.TCPConn, n int) bool {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(data)
	go func() { _, _ = from.Write(data) }()
	hash := sha256.New()
	got, err := io.CopyN(hash, to, int64(n))
	want := sha256.Sum256(data)
	return err == nil && got == int64(n) && bytes.Equal(hash.Sum(nil), want[:])
}
