// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// room is enough, in bytes, for the largest test's packets, so that none is missing whatever the scheduler does.
const room = 256 << 20

// interval is how often that room is emptied.
const interval = 20 * time.Millisecond

// Capture collects what passes an interface. Unlike a process, it is there from the moment that it is opened.
type Capture struct {
	fd         int
	stop, done chan struct{}

	mu              sync.Mutex
	buffer, control []byte
	frames          []Frame
	err             error
}

// Open starts a capture. Close ends it.
func Open(namespace, device string) (*Capture, error) {
	fd, err := Socket(namespace, device, unix.ETH_P_ALL)
	if err != nil {
		return nil, err
	}
	c := &Capture{
		fd:   fd,
		stop: make(chan struct{}), done: make(chan struct{}),
		buffer: make([]byte, 1<<17), control: make([]byte, 256),
	}
	if err := c.prepare(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	go c.collect()
	return c, nil
}

func (c *Capture) prepare() error {
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room); err != nil {
		return err
	}
	return unix.SetsockoptInt(c.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
}

// Close ends the capture. It is an error if packets were missed.
func (c *Capture) Close() error {
	close(c.stop)
	<-c.done
	defer unix.Close(c.fd)
	if c.err != nil {
		return fmt.Errorf("capture: %w", c.err)
	}
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil && stats.Drops > 0 {
		err = fmt.Errorf("capture missed %d packets of %d", stats.Drops, stats.Packets)
	}
	return err
}

// All is what has passed so far and matches.
func (c *Capture) All(match func(Frame) bool) []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drain()
	var found []Frame
	for _, f := range c.frames {
		if match(f) {
			found = append(found, f)
		}
	}
	return found
}

// collect makes room in the socket from time to time, whether somebody looks or not.
func (c *Capture) collect() {
	defer close(c.done)
	for {
		select {
		case <-c.stop:
			return
		case <-time.After(interval):
			c.mu.Lock()
			c.drain()
			c.mu.Unlock()
		}
	}
}

// drain takes all that the socket has. With the lock held from the socket to the list, nothing is in between when somebody looks.
func (c *Capture) drain() {
	for c.err == nil {
		n, nc, _, from, err := unix.Recvmsg(c.fd, c.buffer, c.control, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			c.add(c.buffer[:n], c.control[:nc], from)
		case errors.Is(err, unix.EAGAIN):
			return
		case !errors.Is(err, unix.EINTR):
			c.err = err
		}
	}
}

func (c *Capture) add(data, control []byte, from unix.Sockaddr) {
	ll, ok := from.(*unix.SockaddrLinklayer)
	tp := status(control)
	c.frames = append(c.frames, Frame{
		Packet:  gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{}),
		Sent:    ok && ll.Pkttype == unix.PACKET_OUTGOING,
		Partial: tp&unix.TP_STATUS_CSUMNOTREADY != 0,
		Tagged:  tp&unix.TP_STATUS_VLAN_VALID != 0,
	})
}

// status is tp_status of the packet's struct tpacket_auxdata (packet(7)), its first word.
func status(control []byte) uint32 {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 4 {
			return binary.NativeEndian.Uint32(m.Data)
		}
	}
	return 0
}
