// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// frame is one captured packet.
type frame struct {
	gopacket.Packet
	sent bool // by the interface that is looked at; otherwise received
}

// capture collects what passes an interface. Unlike a process, it is there from the moment that it is opened.
type capture struct {
	fd     int
	mu     sync.Mutex
	frames []frame
	err    error
}

// openCapture starts a capture at an interface. It ends with the test.
func openCapture(t *testing.T, ns, device string) *capture {
	t.Helper()
	c := &capture{fd: within(t, ns, func() (int, error) { return packetSocket(device, unix.ETH_P_ALL) })}
	// Enough for the largest test's packets, so that none is missing whatever the scheduler does.
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		c.collect(stop)
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		c.complete(t)
		unix.Close(c.fd)
	})
	return c
}

// packetSocket opens an AF_PACKET socket of a protocol, 0 for sending only.
func packetSocket(device string, protocol uint16) (int, error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: i.Index})
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind to %s: %w", device, err)
	}
	return fd, nil
}

func (c *capture) collect(stop <-chan struct{}) {
	buffer := make([]byte, 1<<17)
	for {
		n, from, err := unix.Recvfrom(c.fd, buffer, 0)
		switch {
		case err == nil:
			c.add(buffer[:n], from)
			continue
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		default:
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

func (c *capture) add(data []byte, from unix.Sockaddr) {
	ll, ok := from.(*unix.SockaddrLinklayer)
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = append(c.frames, frame{p, ok && ll.Pkttype == unix.PACKET_OUTGOING})
}

// complete fails the test if the capture has missed something.
func (c *capture) complete(t *testing.T) {
	if c.err != nil {
		t.Errorf("capture: %v", c.err)
	}
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil || stats.Drops > 0 {
		t.Errorf("capture missed %+v, error %v", stats, err)
	}
}

// all is what has been captured so far and matches.
func (c *capture) all(match func(frame) bool) []frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []frame
	for _, f := range c.frames {
		if match(f) {
			found = append(found, f)
		}
	}
	return found
}

// wait waits for n packets that match.
func (c *capture) wait(t *testing.T, what string, n int, match func(frame) bool) []frame {
	t.Helper()
	var found []frame
	until(t, fmt.Sprintf("capture of %d %s", n, what), func() bool {
		found = c.all(match)
		return len(found) >= n
	})
	return found
}

// none fails if a packet that matches was captured.
func (c *capture) none(t *testing.T, what string, match func(frame) bool) {
	t.Helper()
	for _, f := range c.all(match) {
		t.Errorf("%s captured: %s", what, f)
	}
}

func (f frame) ipv4() *layers.IPv4 {
	ip, _ := f.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	return ip
}

func (f frame) arp() *layers.ARP {
	arp, _ := f.Layer(layers.LayerTypeARP).(*layers.ARP)
	return arp
}

// addrs are the IPv4 source and destination, invalid for other packets.
func (f frame) addrs() (src, dst netip.Addr) {
	if ip := f.ipv4(); ip != nil {
		src, _ = netip.AddrFromSlice(ip.SrcIP.To4())
		dst, _ = netip.AddrFromSlice(ip.DstIP.To4())
	}
	return src, dst
}

// between matches IPv4 from one address to another.
func between(src, dst netip.Addr) func(frame) bool {
	return func(f frame) bool {
		s, d := f.addrs()
		return s == src && d == dst
	}
}

// received matches IPv4 that came in for one receiver: the host announces multicast groups when it likes.
func received(f frame) bool {
	_, dst := f.addrs()
	return !f.sent && dst.IsValid() && !dst.IsMulticast()
}

// fromInside matches what carries an inside address as source, of IPv4 or ARP.
func fromInside(f frame) bool {
	if arp := f.arp(); arp != nil {
		sender, _ := netip.AddrFromSlice(arp.SourceProtAddress)
		return inside.Contains(sender)
	}
	src, _ := f.addrs()
	return inside.Contains(src)
}
