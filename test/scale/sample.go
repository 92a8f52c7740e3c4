// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"flyover/test/lab"
	"flyover/test/wire"
)

const (
	maxSample = 10000
	// samplePort is the first inside port of each endpoint's part of the sample; the second endpoint's are taken by the first's.
	samplePort = 50000
	echoPort   = 7
	// patience bounds the wait for one packet. It is no measure of speed.
	patience = 3 * time.Second
	// window is how many sessions of the sample have a packet under way at once: few enough for every queue.
	window = 100
	// messageSize: number of the session, number of the packet.
	messageSize = 16
)

// The ends.
var (
	endpoints = [2]struct {
		namespace string
		address   [4]byte
	}{{"ns1", [4]byte{192, 168, 15, 1}}, {"ns2", [4]byte{192, 168, 15, 2}}}
	echoAddress = [4]byte{198, 19, 0, 1}
)

// sample is sessions that are kept alive: numbered packets go out and come back on each, and the outside sees the same port.
type sample struct {
	sockets []int
	echo    int
	ports   []atomic.Uint32 // that the outside has seen each come from; 0 none yet
	next    []uint64        // number of each session's next packet

	stop                       chan struct{}
	done                       chan error
	sent, arrived, returned    atomic.Uint64
	strange, moved, misstarted atomic.Uint64 // packets of another session or number; from another port; from another address
}

// newSample opens sockets, half of them in each of the namespaces given, and the echo at the outside. Nothing is sent yet.
func newSample(size int, namespaces ...int) (*sample, error) {
	s := &sample{ports: make([]atomic.Uint32, size), next: make([]uint64, size), done: make(chan error, 1)}
	if err := raiseFiles(); err != nil {
		return nil, err
	}
	var err error
	s.echo, err = wire.In(lab.OutsideNamespace, func() (int, error) {
		return udpSocket(unix.SockaddrInet4{Addr: echoAddress, Port: echoPort})
	})
	if err != nil {
		return nil, err
	}
	for i, e := range namespaces {
		n := size/len(namespaces) + min(1, size%len(namespaces))*min(1, i)
		part, err := wire.In(endpoints[e].namespace, func() ([]int, error) { return connected(n, endpoints[e].address) })
		if err != nil {
			return nil, err
		}
		s.sockets = append(s.sockets, part...)
	}
	go s.answer()
	return s, nil
}

// raiseFiles lets this process have a socket for each session of the sample.
func raiseFiles() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the number of open files: %w", err)
	}
	return nil
}

func udpSocket(at unix.SockaddrInet4) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		return -1, err
	}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, &at)
}

func connected(n int, address [4]byte) ([]int, error) {
	var all []int
	for i := range n {
		fd, err := udpSocket(unix.SockaddrInet4{Addr: address, Port: samplePort + i})
		if err != nil {
			return nil, err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: echoAddress, Port: echoPort}); err != nil {
			return nil, err
		}
		all = append(all, fd)
	}
	return all, nil
}

// answer sends back what comes to the echo, and looks where it comes from.
func (s *sample) answer() {
	buffer := make([]byte, 64)
	for {
		n, from, err := unix.Recvfrom(s.echo, buffer, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n != messageSize {
			return
		}
		s.arrived.Add(1)
		source, id := from.(*unix.SockaddrInet4), binary.BigEndian.Uint64(buffer)
		if source.Addr != uplinkAddress {
			s.misstarted.Add(1)
		}
		if id < uint64(len(s.ports)) {
			if was := s.ports[id].Swap(uint32(source.Port)); was != 0 && was != uint32(source.Port) {
				s.moved.Add(1)
			}
		}
		_ = unix.Sendto(s.echo, buffer[:n], 0, from) // the other end counts what is missing
	}
}

// round sends a packet on each session and takes the answers.
func (s *sample) round() error {
	for first := 0; first < len(s.sockets); first += window {
		last := min(first+window, len(s.sockets))
		for id := first; id < last; id++ {
			if err := s.send(id); err != nil {
				return fmt.Errorf("session %d of the sample: send: %w", id, err)
			}
		}
		for id := first; id < last; id++ {
			s.receive(id)
		}
	}
	return nil
}

func (s *sample) send(id int) error {
	var b [messageSize]byte
	s.next[id]++
	binary.BigEndian.PutUint64(b[0:], uint64(id))
	binary.BigEndian.PutUint64(b[8:], s.next[id])
	s.sent.Add(1)
	_, err := unix.Write(s.sockets[id], b[:])
	return err
}

// receive waits for the answer. An ICMP error about the packet is an answer that is missing, too. An answer that comes after it was
// given up is lost, and not strange.
func (s *sample) receive(id int) {
	var b [64]byte
	for {
		n, err := unix.Read(s.sockets[id], b[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return
		}
		number := binary.BigEndian.Uint64(b[8:])
		switch {
		case n != messageSize || binary.BigEndian.Uint64(b[0:]) != uint64(id) || number > s.next[id]:
			s.strange.Add(1)
		case number == s.next[id]:
			s.returned.Add(1)
			return
		}
	}
}

// start makes rounds until pause, with a rest after each.
func (s *sample) start(rest time.Duration) {
	s.stop = make(chan struct{})
	go func() {
		for {
			if err := s.round(); err != nil {
				s.done <- err
				return
			}
			select {
			case <-s.stop:
				s.done <- nil
				return
			case <-time.After(rest):
			}
		}
	}()
}

func (s *sample) pause() error {
	close(s.stop)
	return <-s.done
}

func (s *sample) report(what string) {
	sent, arrived, returned := s.sent.Load(), s.arrived.Load(), s.returned.Load()
	say(what, "%d sessions, %d packets out and %d back; lost %d out, %d back (want 0)",
		len(s.sockets), sent, returned, sent-min(sent, arrived), arrived-min(arrived, returned))
	say("", "%d misdelivered, %d from another outside port, %d from another address (want 0)",
		s.strange.Load(), s.moved.Load(), s.misstarted.Load())
}

func (s *sample) close() {
	for _, fd := range append(s.sockets, s.echo) {
		unix.Close(fd)
	}
}
