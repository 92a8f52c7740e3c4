// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/test/packet"
	"flyover/test/wire"
)

var exceeded = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeTimeExceeded, layers.ICMPv4CodeTTLExceeded)

func checkQuotes(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	p.eachSide(func(s side) {
		for _, size := range []int{len(p.mark()), 1472} {
			mark := p.mark()
			sent := dontFragment(s.make(append(mark, noise(size-len(mark))...)), 1).Bytes()
			s.send(sent)
			f := h.wantAnswer(s, exceeded, mark, sent)
			if f.IPv4().Length > 576 {
				h.t.Logf("%d octets: %s", f.IPv4().Length, f)
				h.Failf("an ICMP error has more than 576 octets")
			}
		}
	})
	h.part("options", func() {
		s := p.sides()[0]
		mark := p.mark()
		o := s.make(mark)
		o.IPv4.Options, o.IPv4.TTL = noOperations(40), 1
		sent := o.Bytes()
		s.send(sent)
		f := s.answers.wait("ICMP error about a packet with options", 1, func(f frame) bool {
			return isError(f) && f.ICMP().TypeCode == exceeded && f.ICMP().Payload[0] == 0x4f
		})[0]
		if n := len(f.ICMP().Payload); n < 60+8 || f.IPv4().Length > 576 {
			h.t.Logf("quotation of %d octets: %s", n, f)
			h.Failf("an ICMP error quotes less than the header with its options and 8 octets, or has more than 576")
		}
	})
}

// noOperations are n octets of options that say nothing.
func noOperations(n int) []layers.IPv4Option {
	options := make([]layers.IPv4Option, n)
	for i := range options {
		options[i].OptionType = 1
	}
	return options
}

// unanswerable is a frame of ns1 with TTL 1 that no ICMP error may be about.
type unanswerable struct {
	name  string
	frame []byte
}

// checkNoErrors sends something answerable before and after all else: so silence is neither patience nor the limit of the rate.
func checkNoErrors(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	answer := func() {
		mark := p.mark()
		p.sendOut(dontFragment(p.out(mark), 1).Bytes())
		p.atNS1.wait("ICMP error about a packet that deserves it", 1, errorAbout(exceeded, mark))
	}
	answer()
	for _, u := range p.unanswerables() {
		h.part(u.name, func() {
			before := len(p.errors())
			p.sendOut(u.frame)
			p.fence()
			if found := p.errors()[before:]; len(found) > 0 {
				h.t.Logf("answer: %s", found[0])
				h.Failf("an ICMP error is sent")
			}
		})
	}
	answer()
}

// errors are all ICMP errors that anybody has received.
func (p *path) errors() []frame {
	var all []frame
	for _, c := range []*capture{p.atNS1, p.atNS2, p.h.atOutside} {
		all = append(all, c.All(isError)...)
	}
	return all
}

func (p *path) unanswerables() []unanswerable {
	h := p.h
	udp := func(change func(*packet.Packet)) []byte {
		o := p.out(p.mark())
		o.IPv4.TTL = 1
		change(o)
		return o.Bytes()
	}
	all := []unanswerable{
		{"ICMP error", p.errorOut()},
		{"IP multicast", udp(func(o *packet.Packet) { o.IPv4.DstIP = []byte{239, 1, 2, 3} })},
		{"IP broadcast", udp(func(o *packet.Packet) { o.IPv4.DstIP = []byte{255, 255, 255, 255} })},
		{"directed broadcast", udp(func(o *packet.Packet) { o.IPv4.DstIP = []byte{203, 0, 113, 255} })},
		{"link-layer broadcast", udp(func(o *packet.Packet) { o.Ethernet.DstMAC = packet.Broadcast[:] })},
		{"link-layer multicast", udp(func(o *packet.Packet) { o.Ethernet.DstMAC = multicast(h, nil).Ethernet.DstMAC })},
		{"non-first fragment", udp(func(o *packet.Packet) { o.IPv4.FragOffset = 100 })},
		{"header checksum", flip(udp(func(*packet.Packet) {}), 24)},
	}
	// Addresses that are not one host's.
	for _, source := range []string{"0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.168.15.255"} {
		all = append(all, unanswerable{"source " + source, udp(func(o *packet.Packet) { o.IPv4.SrcIP = net.ParseIP(source) })})
	}
	return all
}

// errorOut is an ICMP error of ns1, of TTL 1, about a packet of the flow.
func (p *path) errorOut() []byte {
	quoted := p.inSeen(p.mark()).Bytes()[14:]
	e := packet.New(layers.IPProtocolICMPv4, p.h.fromNS1(addrNS1+":0", addrOutside+":0"), quoted)
	e.ICMP = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort)}
	e.IPv4.TTL = 1
	return e.Bytes()
}

// flip spoils an octet.
func flip(data []byte, at int) []byte {
	data[at] ^= 0x55
	return data
}

// checkErrorRate lets ns1 ask for 20000 answers in a second, in which ns2 talks to the outside.
func checkErrorRate(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	o := p.out(p.mark())
	o.IPv4.TTL = 1
	data := o.Bytes()
	const packets, batch = 20000, 200
	lost := h.talk(addr4, func() {
		began := time.Now()
		h.flood("ns1", "veth-ns1", packets, func(i int) []byte {
			if i%batch == 0 { // not faster than asked for: a burst is another test
				time.Sleep(time.Until(began.Add(time.Duration(i/batch) * time.Second * batch / packets)))
			}
			return data
		})
		p.fence()
		answers, seconds := len(p.atNS1.All(isError)), time.Since(began).Seconds()
		h.t.Logf("%d answers in %.1f s", answers, seconds)
		if float64(answers) > 1000*max(seconds, 1) {
			h.Failf("more than 1000 ICMP errors a second")
		}
		if answers == 0 {
			h.Failf("no ICMP error")
		}
	})
	if lost > 0 {
		h.t.Logf("%d datagrams of ns2 lost", lost)
		h.Failf("another endpoint loses packets")
	}
}

// flood sends n frames by one socket.
func (h *host) flood(namespace, device string, n int, frame func(i int) []byte) {
	h.t.Helper()
	fd, err := wire.Socket(namespace, device, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer unix.Close(fd)
	for i := range n {
		if _, err := unix.Write(fd, frame(i)); err != nil {
			h.t.Fatal(err)
		}
	}
}
