// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/packet"
)

var router6Rows = []row{
	{70, "IPv6 is routed: hop limit, ICMPv6 errors and their rate, extension headers",
		"RFC 8200; RFC 4443 sections 2.4, 3.2 and 3.3; RFC 7112", "", checkRouter6},
}

var (
	exceeded6 = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeTimeExceeded, 0)
	tooBig6   = layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0)
)

// icmp6Ratelimit is the milliseconds that Linux lets pass between errors to one host by default (ip-sysctl).
const icmp6Ratelimit = "1000"

func (h *host) ratelimit6(milliseconds string) {
	h.t.Helper()
	h.run("", "sysctl", "-qw", "net.ipv6.icmp.ratelimit="+milliseconds)
}

func checkRouter6(_ *testing.T, h *host) {
	h.uplinkMTU(1400)
	h.upBoth("")
	h.ratelimit6("0") // silence is to be the rule that is tested, never the limit of the rate
	p := openPathOf(h, addr6)
	h.part("hop limit", p.checkHops)
	h.part("time exceeded", p.checkExceeded6)
	h.part("no error", p.checkNoErrors6)
	h.part("first fragment", p.checkFirstFragment)
	h.part("extension headers", func() { p.eachSide(p.checkExtensions) })
	h.part("traceroute", func() {
		echo(h.tcpListen(outside, at(addr6Outside, 80).String()))
		for _, method := range [][]string{{"-6"}, {"-6", "-I"}, {"-6", "-T", "-p", "80"}} {
			h.wantHops(method, addr6Gateway, addr6Outside)
		}
	})
	h.part("rate", p.checkErrorRate6)
	h.ratelimit6("0")
	h.part("socket", func() { checkDiscovery6(h, 1400) })
	h.part("packet too big, outward", func() { p.checkTooBig6(p.sides()[0], 1400) })
	h.part("packet too big, inward", func() {
		h.up("mtu: 1300")
		p.exchange()
		p.checkTooBig6(p.sides()[1], 1300)
	})
}

// error6About matches received ICMPv6 errors of a type and code that quote a mark.
func error6About(typeCode layers.ICMPv6TypeCode, mark []byte) func(frame) bool {
	return func(f frame) bool {
		return isError(f) && f.ICMPv6() != nil && f.ICMPv6().TypeCode == typeCode && bytes.Contains(f.Data(), mark)
	}
}

// quoteMost is the room for a quotation: an error is no longer than what every link has to carry (RFC 4443 section 2.4 (c)).
const quoteMost = 1280 - 40 - 8

// wantAnswer6 waits for the ICMPv6 error about a frame, and checks who answers whom, and that it quotes as much as there is room for, as
// its sender has sent it, except for a UDP checksum, which nobody may rely on if the packet was translated.
func (h *host) wantAnswer6(s side, typeCode layers.ICMPv6TypeCode, mark, sent []byte) frame {
	h.t.Helper()
	f := s.answers.wait(fmt.Sprintf("ICMPv6 error %v", typeCode), 1, error6About(typeCode, mark))[0]
	from, to := f.Addrs()
	if from != netip.MustParseAddr(s.router) || to != netip.AddrFrom16([16]byte(sent[22:38])) || f.WrongChecksum() != "" {
		h.t.Logf("answer: %s", f)
		h.Failf("an ICMPv6 error is not from %s to the sender, or its checksum is wrong", s.router)
	}
	want := slices.Clone(sent[14:min(len(sent), 14+quoteMost)])
	quote := f.ICMPv6().Payload[4:]
	if len(quote) != len(want) {
		h.t.Logf("quotation of %d octets, want %d", len(quote), len(want))
		h.Failf("an ICMPv6 error quotes too much or too little")
	}
	copy(want[46:48], quote[46:48])
	if !bytes.Equal(quote, want) {
		h.t.Logf("quotation\n%x, want\n%x", quote, want)
		h.Failf("an ICMPv6 error does not quote the packet as its sender has sent it")
	}
	return f
}

func (p *path) checkExceeded6() {
	h := p.h
	p.eachSide(func(s side) {
		for _, limit := range []uint8{0, 1} {
			for _, size := range []int{len(p.mark()), 1350} {
				mark := p.mark()
				sent := dontFragment(s.make(append(slices.Clone(mark), noise(size-len(mark))...)), limit).Bytes()
				s.send(sent)
				h.wantAnswer6(s, exceeded6, mark, sent)
				p.fence()
				s.at.none("packet whose hop limit has run out, at the receiver", func(f frame) bool { return marked(mark)(f) && !isError(f) })
			}
		}
	})
}

// checkTooBig6 sends a packet that just fits, and one that just does not.
func (p *path) checkTooBig6(s side, mtu int) {
	h := p.h
	const overhead = 40 + 8
	fits := bytes.Repeat([]byte("fits"), mtu)[:mtu-overhead]
	s.send(s.make(fits).Bytes())
	h.wantFrame(s.at.wait("packet of the MTU's size", 1, marked(fits))[0], dontFragment(s.seen(fits), 63).Bytes())
	large := bytes.Repeat([]byte("large"), mtu)[:mtu-overhead+1]
	sent := s.make(large).Bytes()
	s.send(sent)
	f := h.wantAnswer6(s, tooBig6, large[:100], sent)
	if got := binary.BigEndian.Uint32(f.ICMPv6().Payload); got != uint32(mtu) {
		h.t.Logf("next-hop MTU %d, want %d", got, mtu)
		h.Failf("the next-hop MTU is wrong")
	}
	p.fence()
	s.at.none("packet larger than the MTU, at the receiver", func(f frame) bool { return !isError(f) && marked(large[:100])(f) })
}

// checkDiscovery6 is checkDiscovery for IPv6.
func checkDiscovery6(h *host, mtu int) {
	conn := within(h, "ns1", func() (*net.UDPConn, error) {
		c, err := net.Dial("udp6", at(addr6Outside, 9).String())
		if err != nil {
			return nil, err
		}
		udp := c.(*net.UDPConn)
		return udp, withSocket(udp, func(fd int) error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
		})
	})
	h.t.Cleanup(func() { conn.Close() })
	learned := func() (got int) {
		_ = withSocket(conn, func(fd int) (err error) {
			got, err = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
			return err
		})
		return got
	}
	h.until("learned path MTU", func() bool {
		_, _ = conn.Write(noise(1500 - 40 - 8)) // EMSGSIZE, once learned
		return learned() < 1500
	})
	if got := learned(); got != mtu {
		h.t.Logf("path MTU %d, want %d", got, mtu)
		h.Failf("the learned path MTU is wrong")
	}
}

func withSocket(conn *net.UDPConn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// checkNoErrors6 sends something answerable before and after all else: so silence is not impatience.
func (p *path) checkNoErrors6() {
	h := p.h
	answer := func() {
		mark := p.mark()
		p.sendOut(dontFragment(p.out(mark), 1).Bytes())
		p.atNS1.wait("ICMPv6 error about a packet that deserves it", 1, error6About(exceeded6, mark))
	}
	answer()
	for _, u := range p.unanswerables6() {
		h.part(u.name, func() {
			before := len(p.errors())
			p.sendOut(u.frame)
			p.fence()
			if found := p.errors()[before:]; len(found) > 0 {
				h.t.Logf("answer: %s", found[0])
				h.Failf("an ICMPv6 error is sent")
			}
		})
	}
	answer()
}

// unanswerables6 are those of RFC 4443 section 2.4 (e), with hop limit 1.
func (p *path) unanswerables6() []unanswerable {
	udp := func(change func(*packet.Packet)) []byte {
		o := dontFragment(p.out(p.mark()), 1)
		change(o)
		return o.Bytes()
	}
	icmp := func(kind uint8, body []byte) []byte {
		o := packet.IPv6(layers.IPProtocolICMPv6, p.h.fromNS1(p.inside, p.remote), body)
		o.ICMPv6 = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 4)}
		return dontFragment(o, 1).Bytes()
	}
	to := func(addr string) func(*packet.Packet) {
		return func(o *packet.Packet) { o.IPv6.DstIP = net.ParseIP(addr) }
	}
	quote := append(make([]byte, 4), p.inSeen(p.mark()).Bytes()[14:]...)
	all := []unanswerable{
		{"ICMPv6 error", icmp(layers.ICMPv6TypeDestinationUnreachable, quote)},
		{"ICMPv6 error of a type that nobody knows", icmp(100, quote)},
		{"redirect", icmp(layers.ICMPv6TypeRedirect, append(make([]byte, 4), make([]byte, 32)...))},
		{"IP multicast", udp(func(o *packet.Packet) { to("ff0e::1:2:3")(o); o.Ethernet.DstMAC = []byte{0x33, 0x33, 0, 2, 0, 3} })},
		{"IP multicast to the router's MAC", udp(to("ff0e::1:2:3"))},
		{"link-layer multicast", udp(func(o *packet.Packet) { o.Ethernet.DstMAC = []byte{0x33, 0x33, 0, 0, 0, 2} })},
		{"link-layer broadcast", udp(func(o *packet.Packet) { o.Ethernet.DstMAC = packet.Broadcast[:] })},
	}
	for _, source := range []string{"::", "::1", "ff02::1", "ff0e::1:2:3"} { // not one host's
		all = append(all, unanswerable{"source " + source, udp(func(o *packet.Packet) { o.IPv6.SrcIP = net.ParseIP(source) })})
	}
	return all
}

// checkErrorRate6 lets ns1 ask for 20000 answers in a second, in which ns2 talks to the outside.
func (p *path) checkErrorRate6() {
	h := p.h
	h.ratelimit6(icmp6Ratelimit)
	data := dontFragment(p.out(p.mark()), 1).Bytes()
	before := len(p.atNS1.All(isError))
	const packets, batch = 20000, 200
	lost := h.talk(addr6, func() {
		began := time.Now()
		h.flood("ns1", "veth-ns1", packets, func(i int) []byte {
			if i%batch == 0 { // not faster than asked for: a burst is another test
				time.Sleep(time.Until(began.Add(time.Duration(i/batch) * time.Second * batch / packets)))
			}
			return data
		})
		p.fence()
		answers, seconds := len(p.atNS1.All(isError))-before, time.Since(began).Seconds()
		h.t.Logf("%d answers in %.1f s", answers, seconds)
		if float64(answers) > 1000*max(seconds, 1) {
			h.Failf("more than 1000 ICMPv6 errors a second")
		}
		if answers == 0 {
			h.Failf("no ICMPv6 error")
		}
	})
	if lost > 0 {
		h.t.Logf("%d datagrams of ns2 lost", lost)
		h.Failf("another endpoint loses packets")
	}
}

// padding is a header of destination options of so many words of 8 octets that says nothing, before a kind of header.
func padding(next layers.IPProtocol, words int) []byte {
	x := make([]byte, 8*words)
	x[0], x[1] = byte(next), byte(words-1)
	for at := 2; at < len(x); { // PadN options (RFC 8200 section 4.2)
		n := min(len(x)-at-2, 255)
		x[at], x[at+1] = 1, byte(n)
		at += 2 + n
	}
	return x
}

// checkFirstFragment sends a datagram in two fragments, of which the first ends before the UDP header (RFC 7112 section 5). Whoever puts
// them together has seen the whole packet; nobody else may let either pass.
func (p *path) checkFirstFragment() {
	h := p.h
	p.eachSide(func(s side) {
		mark := p.mark()
		whole := behindExtension(s.make(mark).Bytes(), layers.IPProtocolIPv6Destination, padding(0, 3))
		received := len(s.at.All(func(f frame) bool { return fragmentOf(f, 0x7112) || marked(mark)(f) }))
		s.send(fragment6(whole, piece{0, 16}, 0x7112))
		s.send(fragment6(whole, piece{16, 0}, 0x7112))
		p.fence()
		if len(s.at.All(func(f frame) bool { return fragmentOf(f, 0x7112) || marked(mark)(f) })) > received {
			h.Failf("a packet whose first fragment has not all headers passes")
		}
	})
}

// fragmentOf matches received fragments with an identification.
func fragmentOf(f frame, id uint32) bool {
	x := fragmentHeader(f)
	return !f.Sent && x != nil && x.Identification == id
}

// extensionsMost is how many extension headers are tried, one after the other.
const extensionsMost = 64

// checkExtensions sends a packet behind 0 to 64 extension headers. It arrives translated, and otherwise octet by octet as it was sent, or
// not at all, and is counted. Real packets have one or two.
func (p *path) checkExtensions(s side) {
	h := p.h
	const real = 2
	marks := make([][]byte, extensionsMost+1)
	before, missing := h.unwalked(), 0
	chain := func(data []byte, n int) []byte {
		for range n {
			data = behindExtension(data, layers.IPProtocolIPv6Destination, padding(0, 1))
		}
		return data
	}
	for n := range marks {
		marks[n] = p.mark()
		s.send(chain(s.make(marks[n]).Bytes(), n))
	}
	p.fence()
	for n, mark := range marks {
		arrived := s.at.All(marked(mark))
		switch {
		case len(arrived) > 0:
			h.wantFrame(arrived[0], chain(dontFragment(s.seen(mark), 63).Bytes(), n))
		case n <= real:
			h.Failf("a packet with %d extension headers does not arrive", n)
		default:
			missing++
		}
	}
	h.t.Logf("%d packets with more than %d extension headers have not arrived", missing, real)
	if h.unwalked()-before != uint64(missing) {
		h.Failf("packets with many extension headers are not counted")
	}
}

// unwalked is how many packets were not let through for their many extension headers, or were left to the host, whose they are if nobody
// knows better, and which has no socket there.
func (h *host) unwalked() uint64 {
	h.t.Helper()
	return h.reasons()["DROP_EXTENSIONS"] + h.counters()["Udp6NoPorts"]
}
