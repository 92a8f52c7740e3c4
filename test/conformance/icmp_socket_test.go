// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"flyover/test/wire"
)

// wantDialError has ns2 connect to a port where a router answers with an error, and wants connect() to fail by it.
func wantDialError(r *raw, port uint16, m message, want error) {
	r.h.t.Helper()
	remote := at(r.h.addr.peer, port)
	result := make(chan error, 1)
	go func() {
		_, err := r.h.tryDial("ns2", at(r.h.addr.ns2, 0).String(), remote.String(), patience)
		result <- err
	}()
	syn := r.arrived("SYN at the outside", r.beyond.seen, flow(at(r.h.addr.uplink, 0).String(), remote.String()))
	r.sendIn(r.errorPacket(r.h.addr.router, r.h.addr.uplink, m, syn.Data()[14:]))
	if err := <-result; !errors.Is(err, want) {
		r.h.t.Logf("connect: %v, want %v", err, want)
		r.h.Failf("connect() does not fail with %s", unix.ErrnoName(want.(syscall.Errno)))
	}
}

// wantTooBig has ns2 send a datagram that a router finds too big, and wants send() to say so from then on.
func wantTooBig(r *raw) {
	r.h.t.Helper()
	remote := at(r.h.addr.peer, 8003)
	conn := within(r.h, "ns2", func() (*net.UDPConn, error) {
		return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	})
	defer conn.Close()
	discoverMTU(r.h, conn)
	datagram := make([]byte, 1400)
	if _, err := conn.Write(datagram); err != nil {
		r.h.t.Fatal(err)
	}
	sent := r.arrived("datagram at the outside", r.beyond.seen, flow(at(r.h.addr.uplink, 0).String(), remote.String()))
	r.sendIn(r.errorPacket(r.h.addr.router, r.h.addr.uplink, r.h.icmp().tooBig, sent.Data()[14:14+r.h.addr.header()+8]))
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
		if h.addr.six() {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
			return
		}
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	if err := errors.Join(controlErr, err); err != nil {
		h.t.Fatal(err)
	}
}

// refusedOutside has a server outside talk to a container whose socket is gone, and wants the server's socket to learn it.
func refusedOutside(h *host) {
	server := at(h.addr.outside, 3478).String()
	before := h.udp(outside, server)
	client := h.udp("ns1", at(h.addr.ns1, 5000).String())
	h.send(client, server, []byte("hello"))
	_, from := h.receive(before, "datagram at the outside")
	before.Close()
	client.Close()
	after := dialUDP(h, outside, server, from)
	wantRefused(h, after)
}

// refusedHairpin has one container talk to another by the other's outside port, after the other's socket is gone.
func refusedHairpin(h *host) {
	server := at(h.addr.outside, 3479).String()
	observer := h.udp(outside, server)
	one, two := h.udp("ns1", at(h.addr.ns1, 5001).String()), h.udp("ns2", at(h.addr.ns2, 5002).String())
	oneOutside, twoOutside := learn(h, one, observer, server), learn(h, two, observer, server)
	atNS2 := h.capture("ns2", "veth-ns2")
	h.send(one, twoOutside.String(), []byte("open the filter"))
	h.send(two, oneOutside.String(), []byte("hairpin"))
	h.receive(one, "hairpinned datagram")
	one.Close()
	two.Close()
	wantRefused(h, dialUDP(h, "ns2", at(h.addr.ns2, 5002).String(), oneOutside))
	about := atNS2.wait("port unreachable", 1, isMessage(h.icmp().portUnreachable))[0]
	if about.WrongChecksum() != "" {
		h.Failf("ICMP error with a wrong checksum")
	}
	if src, _ := about.Addrs(); src.String() != h.addr.uplink {
		h.Failf("ICMP error with a source that is not the uplink's address")
	}
	quote := about.Message().Payload
	if source, destination := quotedEnds(quote); source != at(h.addr.ns2, 5002) || destination != oneOutside {
		h.t.Logf("quoted: %s to %s", source, destination)
		h.Failf("ICMP error quotes other ends")
	}
	if !h.addr.six() && wire.Sum(quote[:20]) != 0xffff {
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
	src, dst, ports := quote[12:16], quote[16:20], quote[20:24]
	if quote[0]>>4 == 6 {
		src, dst, ports = quote[8:24], quote[24:40], quote[40:44]
	}
	from, _ := netip.AddrFromSlice(src)
	to, _ := netip.AddrFromSlice(dst)
	return netip.AddrPortFrom(from, binary.BigEndian.Uint16(ports)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(ports[2:]))
}

func dialUDP(h *host, namespace, local string, remote netip.AddrPort) *net.UDPConn {
	h.t.Helper()
	conn := within(h, namespace, func() (*net.UDPConn, error) {
		from := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local))
		return net.DialUDP("udp", from, net.UDPAddrFromAddrPort(remote))
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
