// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	payload = 18 // bytes: the smallest Ethernet frame
	// maxBatch is how many packets a system call sends or receives at most, so that the calls do not hide what is compared.
	maxBatch = 32
	// Enough for everything that comes while the receiver is off its CPU for some milliseconds.
	receiveBuffer = 32 << 20
	// silence is how long nothing comes before the receiver looks whether the sender is done.
	silence = 50 * time.Millisecond
)

// message is the kernel's struct mmsghdr; Go pads it alike.
type message struct {
	header unix.Msghdr
	_      uint32 // the length, which nobody asks for
}

// messages are one batch, all of them in the same buffer: nobody looks at what is in it.
type messages struct {
	buffer [64]byte
	vector unix.Iovec
	batch  [maxBatch]message
}

func newMessages(length int) *messages {
	m := new(messages)
	m.vector.Base = &m.buffer[0]
	m.vector.SetLen(length)
	for i := range m.batch {
		m.batch[i].header.Iov = &m.vector
		m.batch[i].header.SetIovlen(1)
	}
	return m
}

// call is sendmmsg or recvmmsg for at most n packets. It bypasses Go's scheduler, for which the thread goes on running.
func (m *messages) call(trap uintptr, fd, n int, flags uintptr) (int, error) {
	for {
		done, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.batch)), uintptr(n), flags, 0, 0)
		switch errno {
		case 0:
			return int(done), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// stream is what the two ends of a measurement know of each other.
type stream struct {
	port     chan int
	arrived  chan struct{} // the first packet is there
	sent     int
	start    time.Time
	worked   time.Duration // the sender's CPU time
	over     atomic.Bool
	received int
	last     time.Time
}

// measureUDP sends small packets for the window, as fast as they go, and counts those that arrive: the sender's rate would
// count lost ones.
//
// The two ends have a CPU each. Whatever the variant, a veth's receive work, up to the receiver's socket, is done on the
// sender's CPU, with bpf_redirect_peer as without; the sender is the bottleneck, which is what makes the variants
// comparable. A receiver that does more per packet than this one would gain from moving that work over to its own CPU.
func measureUDP(from, to place, window time.Duration, batch int) (answer, error) {
	s := &stream{port: make(chan int, 1), arrived: make(chan struct{}, 1)}
	receiver := to.run(func() error { return s.receive(to) })
	var sender <-chan error
	select {
	case port := <-s.port:
		sender = from.run(func() error { return s.send(to, port, window, batch) })
	case err := <-receiver:
		return answer{}, fmt.Errorf("receive: %w", err)
	}
	if err := <-sender; err != nil {
		s.over.Store(true)
		return answer{}, fmt.Errorf("send: %w", err)
	}
	if err := <-receiver; err != nil {
		return answer{}, fmt.Errorf("receive: %w", err)
	}
	return answer{
		Rate: float64(s.received) / s.last.Sub(s.start).Seconds(),
		Work: float64(s.received) / s.worked.Seconds(),
		Lost: 1 - float64(s.received)/float64(s.sent),
	}, nil
}

func (s *stream) send(to place, port int, window time.Duration, batch int) error {
	fd, err := dial(unix.SOCK_DGRAM, to, port)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	m := newMessages(payload)
	// One packet goes ahead: it resolves the neighbours and makes the session, and tells that there is a way at all.
	if _, err := m.call(unix.SYS_SENDMMSG, fd, 1, 0); err != nil {
		return err
	}
	select {
	case <-s.arrived:
	case <-time.After(patience):
		return errors.New("the first packet does not arrive")
	}
	before, err := cpuTime()
	if err != nil {
		return err
	}
	s.start = time.Now()
	for time.Since(s.start) < window {
		n, err := m.call(unix.SYS_SENDMMSG, fd, batch, 0)
		if err != nil {
			return err
		}
		s.sent += n
	}
	after, err := cpuTime()
	s.worked = after - before
	s.over.Store(true)
	return err
}

func (s *stream) receive(at place) error {
	fd, port, err := at.listen(unix.SOCK_DGRAM, silence)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return err
	}
	m := newMessages(len(messages{}.buffer))
	s.port <- port
	for first := true; ; {
		n, err := m.call(unix.SYS_RECVMMSG, fd, maxBatch, unix.MSG_WAITFORONE)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if s.over.Load() {
				return nil
			}
		case err != nil:
			return err
		case first:
			first = false
			s.arrived <- struct{}{}
		default:
			s.received += n
			s.last = time.Now()
		}
	}
}
