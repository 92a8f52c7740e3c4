// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/lab"
)

// udpOverhead is what IPv4 and UDP add to a payload.
const udpOverhead = 20 + 8

// noise is n octets that look random, the same in every run.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// uplinkMTU is to be called before the network is brought up.
func (h *host) uplinkMTU(mtu int) {
	h.t.Helper()
	h.run("", "ip", "link", "set", lab.Uplink, "mtu", fmt.Sprint(mtu))
}

func checkTooBig(_ *testing.T, h *host) {
	h.uplinkMTU(1400)
	h.upDefault()
	h.part("TCP", func() { checkBulk(h) })
	h.part("socket", func() { checkDiscovery(h, 1400) })
	p := openPath(h)
	h.part("outward", func() { checkNextHopMTU(h, p.sides()[0], 1400) })
	h.part("inward", func() {
		h.up("mtu: 1300")
		p.exchange()
		checkNextHopMTU(h, p.sides()[1], 1300)
	})
}

// checkNextHopMTU sends a packet that just fits, and one that just does not.
func checkNextHopMTU(h *host, s side, mtu int) {
	fits := bytes.Repeat([]byte("fits"), mtu)[:mtu-udpOverhead]
	s.send(dontFragment(s.make(fits), 64).Bytes())
	h.wantFrame(s.at.wait("packet of the MTU's size", 1, marked(fits))[0], dontFragment(s.seen(fits), 63).Bytes())
	large := bytes.Repeat([]byte("large"), mtu)[:mtu-udpOverhead+1]
	sent := dontFragment(s.make(large), 64).Bytes()
	s.send(sent)
	needed := layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded)
	f := h.wantAnswer(s, needed, large[:100], sent)
	if f.ICMP().Seq != uint16(mtu) { // RFC 1191 section 4: the low half of the second word
		h.t.Logf("next-hop MTU %d, want %d", f.ICMP().Seq, mtu)
		h.Failf("the next-hop MTU is wrong")
	}
	s.at.none("packet larger than the MTU, at the receiver", func(f frame) bool { return !isError(f) && marked(large[:100])(f) })
}

// checkDiscovery does what tracepath does: a socket that must not fragment learns the path's MTU.
func checkDiscovery(h *host, mtu int) {
	conn := within(h, "ns1", func() (*net.UDPConn, error) {
		c, err := net.Dial("udp4", addrSecond+":9")
		if err != nil {
			return nil, err
		}
		return c.(*net.UDPConn), discover(c.(*net.UDPConn))
	})
	h.t.Cleanup(func() { conn.Close() })
	h.until("learned path MTU", func() bool {
		_, _ = conn.Write(noise(1500 - udpOverhead)) // EMSGSIZE, once learned
		return pathMTU(conn) < 1500
	})
	if got := pathMTU(conn); got != mtu {
		h.t.Logf("path MTU %d, want %d", got, mtu)
		h.Failf("the learned path MTU is wrong")
	}
}

// discover makes a socket send with DF, and fail for what is larger than the path is known to take.
func discover(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	if err != nil {
		return err
	}
	return failed
}

// pathMTU is what the kernel knows of a connected socket's path, 0 if nothing.
func pathMTU(conn *net.UDPConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	mtu := 0
	_ = raw.Control(func(fd uintptr) { mtu, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU) })
	return mtu
}

// checkBulk sends by TCP in packets that the sender leaves to be cut, whose segments do not fit at first, and fit later on.
func checkBulk(h *host) {
	h.offloads("on")
	defer h.offloads("off")
	listener, captured := h.tcpListen(outside, addrOutside+":80"), h.capture("ns1", "veth-ns1")
	conn := h.tcpDial("ns1", addrNS1+":0", addrOutside+":80")
	server := h.tcpAccept(listener, "TCP connection")
	data := noise(1 << 20)
	go func() {
		_, _ = conn.Write(data)
		_ = conn.CloseWrite()
	}()
	hash := sha256.New()
	if _, err := io.Copy(hash, server); err != nil || [32]byte(hash.Sum(nil)) != sha256.Sum256(data) {
		h.t.Logf("error %v", err)
		h.Failf("a bulk transfer does not arrive")
	}
	cut := captured.All(func(f frame) bool { return f.Sent && len(f.Data()) > 1514 })
	if len(cut) == 0 {
		h.t.Fatal("no packet was left to be cut: the test does not test it")
	}
}

func checkFragmented(_ *testing.T, h *host) {
	const mtu = 1280
	h.uplinkMTU(mtu)
	h.upDefault()
	p := openPath(h)
	h.part("whole packet", func() {
		data := noise(1400)
		p.sendOut(p.out(data).Bytes())
		h.wantDatagram(p.server, data, p.mapped)
	})
	h.part("fragments", func() {
		data := noise(4000)
		mayFragment(h, p.client)
		h.send(p.client, p.remote, data)
		h.wantDatagram(p.server, data, p.mapped)
	})
	h.part("order", func() { checkOrder(h, mtu, 2) })
}

// checkOrder wants the outside to have got so many datagrams in fragments, one after the other and each from its beginning to its
// end.
func checkOrder(h *host, mtu uint16, datagrams int) {
	h.atOutside.wait("last fragments", datagrams, func(f frame) bool { return !f.Sent && isFragment(f) && !moreFollow(f) })
	next := 0
	for _, f := range h.atOutside.All(func(f frame) bool { return !f.Sent && isFragment(f) }) {
		ip := f.IPv4()
		if int(ip.FragOffset)*8 != next || ip.Length > mtu {
			h.t.Logf("fragment %s, want offset %d", f, next)
			h.Failf("fragments are out of order or larger than the MTU")
		}
		next += len(ip.Payload)
		if !moreFollow(f) {
			next = 0
		}
	}
}

// wantDatagram wants a socket to get a datagram unharmed, from whom it should be.
func (h *host) wantDatagram(at *net.UDPConn, want []byte, sender string) {
	h.t.Helper()
	got, from := h.receive(at, fmt.Sprintf("datagram of %d octets", len(want)))
	if !bytes.Equal(got, want) || from.String() != sender {
		h.t.Logf("%d octets from %s, want %d from %s", len(got), from, len(want), sender)
		h.Failf("a datagram of %d octets arrives changed, or from elsewhere", len(want))
	}
}

// mayFragment clears DF for what a socket sends.
func mayFragment(h *host, conn *net.UDPConn) {
	h.t.Helper()
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
		})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}
