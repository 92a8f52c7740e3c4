// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"
)

// talkPause is the time between two datagrams: few enough that whoever loses one has lost it to somebody else's packets.
const talkPause = 2 * time.Millisecond

// talk has ns2 send numbered datagrams of a family to the outside and back while something else goes on, and returns how many did not come
// back.
func (h *host) talk(family addresses, while func()) int {
	h.t.Helper()
	to, from := at(family.outside, 7), at(family.ns2, 7000)
	server, client := h.udp(outside, to.String()), h.udp("ns2", from.String())
	for _, conn := range []*net.UDPConn{server, client} {
		if err := conn.SetReadBuffer(1 << 20); err != nil {
			h.t.Fatal(err)
		}
	}
	go reflect(server)
	stop := make(chan struct{})
	var talking sync.WaitGroup
	sent := 0
	talking.Go(func() { sent = chatter(client, to, stop) })
	func() {
		defer talking.Wait()
		defer close(stop) // also if Failf ends it all
		while()
	}()
	return sent - count(client, sent)
}

// reflect sends all back, until the socket is closed.
func reflect(conn *net.UDPConn) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
	}
}

// chatter returns how many datagrams it has sent.
func chatter(conn *net.UDPConn, to netip.AddrPort, stop <-chan struct{}) int {
	ticks := time.NewTicker(talkPause)
	defer ticks.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return n
		case <-ticks.C:
		}
		if _, err := conn.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, uint32(n)), to); err != nil {
			return n
		}
	}
}

// count reads until as many different datagrams have arrived as were sent, or no more come.
func count(conn *net.UDPConn, sent int) int {
	seen := map[uint32]bool{}
	for len(seen) < sent {
		data, _, err := read(conn, patience)
		if err != nil {
			break
		}
		seen[binary.BigEndian.Uint32(data)] = true
	}
	return len(seen)
}
