// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

// fragmentTime is how long the fragments of a datagram may wait for the others: the kernel's default. (Hosts have 60 s and more by
// RFC 1122 section 3.3.2.)
const fragmentTime = 30 * time.Second

// fragmentTime6 is that of IPv6 (RFC 8200 section 4.5).
const fragmentTime6 = 60 * time.Second

// fragmentMemory is what incomplete datagrams may take, in bytes: the kernel's default, and one datagram more.
const fragmentMemory = 4<<20 + 1<<17

// conntrack6 are the sysctls of IPv6's fragments that connection tracking has. It has a table of its own for them, which nobody can look at.
const conntrack6 = "net.netfilter.nf_conntrack_frag6_"

// checkFragmentFlood has ns1 begin 100000 datagrams that it does not end.
func checkFragmentFlood(_ *testing.T, h *host) {
	h.upDefault()
	timers, most := []string{"net.ipv4.ipfrag_time"}, fragmentTime
	if h.addr.six() {
		timers, most = []string{"net.ipv6.ip6frag_time"}, fragmentTime6
	}
	h.run(outside, "sysctl", "-qw", timers[0]+"=1")
	if h.conntracked6() {
		timers = append(timers, conntrack6+"timeout")
	}
	h.part("time", func() {
		for _, timer := range timers {
			if h.number(timer) > int(most/time.Second) {
				h.Failf("the kernel keeps fragments for longer than %v", most)
			}
		}
	})
	// Kernels' timers cannot be set back, as the datapath's can. What the datapath lets out waits at the outside.
	for _, timer := range timers {
		h.run("", "sysctl", "-qw", timer+"=1")
	}
	p := openPath(h)
	stale := fragments(p.outOfNS2(noise(2000)).Bytes(), 7, piece{0, 1000}, piece{1000, 0})
	h.inject("ns2", "veth-ns2", stale[0])
	lost := h.talk(h.addr, func() { flood(p) })
	h.part("others", func() {
		if lost > 0 {
			h.t.Logf("%d datagrams of ns2 lost", lost)
			h.Failf("another endpoint loses packets")
		}
	})
	h.part("memory", func() {
		_, memory := h.reassembly("")
		if h.conntracked6() {
			memory = h.number(conntrack6 + "high_thresh")
		}
		h.t.Logf("%d bytes", memory)
		if memory > fragmentMemory {
			h.Failf("the kernel's memory for fragments is not bounded")
		}
	})
	h.part("expiry", func() { checkFragmentExpiry(p, stale[1]) })
}

// conntracked6 says if it is IPv6's fragments that are looked at, and connection tracking that has them.
func (h *host) conntracked6() bool { return h.addr.six() && !h.ebpf }

// flood uses two destinations, as the identification has 16 bits.
func flood(p *path) {
	const n = 100000
	var first [2][]byte
	for i, to := range []string{p.remote, at(p.h.addr.second, 3478).String()} {
		whole := packet.New(layers.IPProtocolUDP, p.h.fromNS1(p.inside, to), make([]byte, 100)).Bytes()
		first[i] = fragments(whole, 0, piece{0, 64})[0]
	}
	p.h.flood("ns1", "veth-ns1", n, func(i int) []byte {
		frame := first[i>>16]
		if p.h.addr.six() {
			binary.BigEndian.PutUint16(frame[14+40+6:], uint16(i))
			return frame
		}
		return header(frame, func(ip []byte) { binary.BigEndian.PutUint16(ip[4:], uint16(i)) })
	})
}

// checkFragmentExpiry ends a datagram too late, and sends another one in time.
func checkFragmentExpiry(p *path, late []byte) {
	h := p.h
	h.age(fragmentTime + time.Second)
	h.until("end of the fragments that nothing was added to", func() bool {
		queues, _ := h.reassembly("")
		beyond, _ := h.reassembly(outside)
		return queues == 0 && beyond == 0
	})
	if h.conntracked6() { // it tells the sender (RFC 8200 section 4.5), and that is all that can be seen
		p.atNS2.wait("end of the fragments that nothing was added to", 1, isMessage(message{kind: layers.ICMPv6TypeTimeExceeded, code: 1}))
	}
	before := len(h.atOutside.All(receivedFragment))
	h.inject("ns2", "veth-ns2", late)
	h.fence("ns2")
	if found := h.atOutside.All(receivedFragment)[before:]; len(found) > 0 {
		h.t.Logf("received: %s", found[0])
		h.Failf("a fragment passes after the time for its datagram")
	}
	data := noise(3000)
	for _, part := range fragments(p.outOfNS2(data).Bytes(), 8, thirds...) {
		h.inject("ns2", "veth-ns2", part)
	}
	got, _ := h.receive(p.server, "datagram in fragments after the flood")
	if string(got) != string(data) {
		h.Failf("a datagram has changed")
	}
}

// number is a sysctl of the host.
func (h *host) number(sysctl string) int {
	h.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(h.run("", "sysctl", "-n", sysctl)))
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// reassembly is how many incomplete datagrams the kernel holds in a namespace, the host's if it is "", and their bytes of memory.
func (h *host) reassembly(namespace string) (queues, memory int) {
	h.t.Helper()
	file, name := "/proc/net/sockstat", "FRAG:"
	if h.addr.six() {
		file, name = "/proc/net/sockstat6", "FRAG6:"
	}
	for line := range strings.Lines(h.run(namespace, "cat", file)) {
		if f := strings.Fields(line); len(f) == 5 && f[0] == name {
			queues, _ = strconv.Atoi(f[2])
			memory, _ = strconv.Atoi(f[4])
		}
	}
	return queues, memory
}
