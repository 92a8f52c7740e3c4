// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"flyover/test/packet"
	"flyover/test/wire"
)

// Frames of each sender in all, and at once: less than the kernel's queues take.
const (
	orderFrames = 10000
	orderBatch  = 250
	orderFlood  = 200
)

// checkSequence has ns1 and ns3 send numbered frames to ns2 at the same time, and then ns1 to everybody.
func checkSequence(_ *testing.T, h *host) {
	s := upSegment(h)
	atHost := h.capture("", "br1")
	h.part("unicast", func() {
		fds := []int{s.socket("ns1", "veth-ns1"), s.socket("ns3", "veth-ns3")}
		for first := 0; first < orderFrames; first += orderBatch {
			done := make(chan error, len(fds))
			for i, from := range []packet.MAC{s.own, s.third} {
				go func() { done <- sendNumbered(fds[i], s.other, from, first, orderBatch) }()
			}
			for range fds {
				if err := <-done; err != nil {
					h.t.Error(err)
				}
			}
		}
		for _, from := range []packet.MAC{s.own, s.third} {
			wantOrder(s.atNS2, from, s.other, orderFrames)
		}
	})
	h.part("broadcast", func() {
		if err := sendNumbered(s.socket("ns1", "veth-ns1"), packet.Broadcast, s.own, 0, orderFlood); err != nil {
			h.t.Fatal(err)
		}
		for _, at := range []*capture{s.atNS2, s.atNS3, atHost} {
			wantOrder(at, s.own, packet.Broadcast, orderFlood)
		}
		s.atNS1.none("comes back", func(f frame) bool { return !f.Sent && isNumbered(f, s.own, packet.Broadcast) })
	})
}

func (s *segment) socket(namespace, device string) int {
	s.h.t.Helper()
	fd, err := wire.Socket(namespace, device, 0)
	if err != nil {
		s.h.t.Fatal(err)
	}
	s.h.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func sendNumbered(fd int, to, from packet.MAC, first, count int) error {
	for n := range count {
		if _, err := unix.Write(fd, numbered(to, from, experimental, uint32(first+n), 60)); err != nil {
			return err
		}
	}
	return nil
}

func isNumbered(f frame, from, to packet.MAC) bool {
	data := f.Data()
	return len(data) >= 18 && string(data[:12]) == string(to[:])+string(from[:]) && binary.BigEndian.Uint16(data[12:]) == experimental
}

// wantOrder waits for the last of so many frames, and wants each of them once, in order.
func wantOrder(at *capture, from, to packet.MAC, count int) {
	at.h.t.Helper()
	got := at.wait("numbered frames", count, func(f frame) bool { return !f.Sent && isNumbered(f, from, to) })
	for n, f := range got {
		if number := binary.BigEndian.Uint32(f.Data()[14:]); number != uint32(n) {
			at.h.t.Logf("frame %d has number %d", n, number)
			at.h.Failf("a frame is lost, duplicated or overtaken")
		}
	}
}
