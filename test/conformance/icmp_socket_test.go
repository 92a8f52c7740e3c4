// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/wire"
)

// wantDialError has ns2 connect to a port where a router answers with an error, and wants connect() to fail by it.
func wantDialError(r *raw, port uint16, m message, want error) {
	r.h.t.Helper()
	remote := at(addrPeer, port)
	result := make(chan error, 1)
	go func() {
		_, err := r.h.tryDial("ns2", addrNS2+":0", remote.String(), patience)
		result <- err
	}()
	syn := r.arrived("SYN at the outside", r.beyond.seen, flow(addrUplink+":0", remote.String()))
	r.sendIn(r.errorPacket(addrRouter, addrUplink, m, syn.Data()[14:]))
	if err := <-result; !errors.Is(err, want) {
		r.h.t.Logf("connect: %v, want %v", err, want)
		r.h.Failf("connect() does not fail with %s", unix.ErrnoName(want.(syscall.Errno)))
	}
}

// wantTooBig has ns2 send a datagram that a router finds too big, and wants send() to say so from then on.
func wantTooBig(r *raw) {
	r.h.t.Helper()
	remote := at(addrPeer, 8003)
	conn := within(r.h, "ns2", func() (*net.UDPConn, error) {
		return net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(remote))
	})
	defer conn.Close()
	discoverMTU(r.h, conn)
	datagram := make([]byte, 1300)
	if _, err := conn.Write(datagram); err != nil {
		r.h.t.Fatal(err)
	}
	sent := r.arrived("datagram at the outside", r.beyond.seen, flow(addrUplink+":0", remote.String()))
	tooBig := message{kind: layers.ICMPv4TypeDestinationUnreachable, code: layers.ICMPv4CodeFragmentationNeeded, rest: 1000}
	r.sendIn(r.errorPacket(addrRouter, addrUplink, tooBig, sent.Data()[14:14+28]))
	r.h.until("EMSGSIZE from send()", func() bool {
		_, err := conn.Write(datagram)
		return errors.Is(err, syscall.EMSGSIZE)
	})
}

// discoverMTU makes the socket set DF and heed ICMP errors.
func discoverMTU(h *host, conn *net.UDPConn) {
	h.t.Helper()
	c, err := conn.SyscallConn()
	if err != nil {
		h.t.Fatal(err)
	}
	controlErr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	if err := errors.Join(controlErr, err); err != nil {
		h.t.Fatal(err)
	}
}

// refusedOutside has a server outside talk to a container whose socket is gone, and wants the server's socket to learn it.
func refusedOutside(h *host) {
	const server = addrOutside + ":3478"
	before := h.udp(outside, server)
	client := h.udp("ns1", addrNS1+":5000")
	h.send(client, server, []byte("hello"))
	_, from := h.receive(before, "datagram at the outside")
	before.Close()
	client.Close()
	after := dialUDP(h, outside, server, from)
	wantRefused(h, after)
}

// refusedHairpin has one container talk to another by the other's outside port, after the other's socket is gone.
func refusedHairpin(h *host) {
	const server = addrOutside + ":3479"
	observer := h.udp(outside, server)
	one, two := h.udp("ns1", addrNS1+":5001"), h.udp("ns2", addrNS2+":5002")
	oneOutside, twoOutside := learn(h, one, observer, server), learn(h, two, observer, server)
	atNS2 := h.capture("ns2", "veth-ns2")
	h.send(one, twoOutside.String(), []byte("open the filter"))
	h.send(two, oneOutside.String(), []byte("hairpin"))
	h.receive(one, "hairpinned datagram")
	one.Close()
	two.Close()
	wantRefused(h, dialUDP(h, "ns2", addrNS2+":5002", oneOutside))
	about := atNS2.wait("port unreachable", 1, func(f frame) bool {
		return !f.Sent && f.ICMP() != nil && f.ICMP().TypeCode == portUnreachable.typeCode()
	})[0]
	if about.WrongChecksum() != "" {
		h.Failf("ICMP error with a wrong checksum")
	}
	if src, _ := about.Addrs(); src.String() != addrUplink {
		h.Failf("ICMP error with a source that is not the uplink's address")
	}
	quote := about.ICMP().Payload
	if source, destination := quotedEnds(quote); source != at(addrNS2, 5002) || destination != oneOutside {
		h.t.Logf("quoted: %s to %s", source, destination)
		h.Failf("ICMP error quotes other ends")
	}
	if wire.Sum(quote[:20]) != 0xffff {
		h.Failf("ICMP error quotes an IP header with a wrong checksum")
	}
}

// learn sends a datagram to an observer outside and returns the source that it sees.
func learn(h *host, conn, observer *net.UDPConn, server string) netip.AddrPort {
	h.t.Helper()
	h.send(conn, server, []byte("who am I"))
	_, from := h.receive(observer, "datagram at the outside")
	return from
}

// quotedEnds are the ends of a quoted UDP packet without IP options.
func quotedEnds(quote []byte) (source, destination netip.AddrPort) {
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(quote[i : i+4])) }
	port := func(i int) uint16 { return uint16(quote[i])<<8 | uint16(quote[i+1]) }
	return netip.AddrPortFrom(addr(12), port(20)), netip.AddrPortFrom(addr(16), port(22))
}

func dialUDP(h *host, namespace, local string, remote netip.AddrPort) *net.UDPConn {
	h.t.Helper()
	conn := within(h, namespace, func() (*net.UDPConn, error) {
		from := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local))
		return net.DialUDP("udp4", from, net.UDPAddrFromAddrPort(remote))
	})
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

func wantRefused(h *host, conn *net.UDPConn) {
	h.t.Helper()
	if _, err := conn.Write([]byte("is anybody there")); err != nil {
		h.t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		h.t.Logf("read: %v", err)
		h.Failf("the socket does not learn that its peer is gone")
	}
}
