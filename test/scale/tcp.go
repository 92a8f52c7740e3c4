// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"flyover/test/lab"
	"flyover/test/wire"
)

const (
	servicePort = 80
	// servers is how many connections the outside serves at a time.
	servers = 32
	// clients is how many connections the endpoints have under way at a time, all in all.
	clients = 8
	// serviceAddresses are 198.19.1.1 and on: each has the whole set of ports that an endpoint may connect from.
	serviceAddresses = 16
)

// service takes connections at the outside: an octet, the answer, and the end, which is the client's to begin.
type service struct{ listener int }

func newService() (*service, error) {
	fd, err := wire.In(lab.OutsideNamespace, func() (int, error) {
		fd, err := tcpSocket()
		if err != nil {
			return -1, err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: servicePort}); err != nil {
			return -1, err
		}
		return fd, unix.Listen(fd, 1024)
	})
	if err != nil {
		return nil, fmt.Errorf("listen at the outside: %w", err)
	}
	s := &service{fd}
	for range servers {
		go s.serve()
	}
	return s, nil
}

func (s *service) serve() {
	var b [1]byte
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_CLOEXEC)
		if again(err) {
			continue
		}
		if err != nil {
			return
		}
		// What fails here fails at the client, too.
		if limitWait(fd) == nil && readByte(fd, &b) == nil && writeByte(fd, &b) == nil {
			_ = readByte(fd, &b) // until the client has closed
		}
		unix.Close(fd)
	}
}

func again(err error) bool { return errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) }

// tcpSocket waits no longer than patience, for anything.
func tcpSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, limitWait(fd)
}

func limitWait(fd int) error {
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return err
	}
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
}

// connectOnce is one whole connection from the namespace that the thread is in.
func connectOnce(number int) error {
	fd, err := tcpSocket()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Addr: [4]byte{198, 19, 1, byte(1 + number%serviceAddresses)}, Port: servicePort}
	err = unix.Connect(fd, to)
	for errors.Is(err, unix.EINTR) || errors.Is(err, unix.EALREADY) {
		err = unix.Connect(fd, to) // goes on waiting
	}
	if err != nil && !errors.Is(err, unix.EISCONN) {
		return fmt.Errorf("connect: %w", err)
	}
	b := [1]byte{byte(number)}
	if err := writeByte(fd, &b); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if err := readByte(fd, &b); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if b[0] != byte(number) {
		return errors.New("receive: another connection's octet")
	}
	return nil
}

func writeByte(fd int, b *[1]byte) error {
	for {
		_, err := unix.Write(fd, b[:])
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// readByte reports the end as an error.
func readByte(fd int, b *[1]byte) error {
	for {
		n, err := unix.Read(fd, b[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return errors.New("closed")
		default:
			return nil
		}
	}
}

// tally is what has become of connections.
type tally struct {
	mu     sync.Mutex
	took   []time.Duration // of those made
	failed int
	errors map[string]int
}

// connect makes connections one after the other until all n, of this and other threads, have been begun or stop is closed.
func (t *tally) connect(namespace string, next *atomic.Int64, n int, stop <-chan struct{}) error {
	_, err := wire.In(namespace, func() (struct{}, error) {
		for {
			number := int(next.Add(1))
			if number > n {
				return struct{}{}, nil
			}
			select {
			case <-stop:
				return struct{}{}, nil
			default:
				start := time.Now()
				err := connectOnce(number)
				t.note(time.Since(start), err)
			}
		}
	})
	return err
}

func (t *tally) note(took time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.took = append(t.took, took)
		return
	}
	t.failed++
	if t.errors == nil {
		t.errors = map[string]int{}
	}
	t.errors[err.Error()]++
}

func (t *tally) report(what string, want int, took time.Duration) {
	why := ""
	for err, n := range t.errors {
		why += fmt.Sprintf("; %s: %d", err, n)
	}
	if n := len(t.took); n > 0 {
		slices.Sort(t.took)
		why += fmt.Sprintf("; median %v, 999 in 1000 within %v", t.took[n/2].Round(time.Microsecond), t.took[n*999/1000].Round(time.Microsecond))
	}
	say(what, "%d of %d, %d failed; %.0f/s%s", len(t.took), want, t.failed, float64(len(t.took))/took.Seconds(), why)
}

// connections makes many at a time from both endpoints, with the default table and limits: sessions that have closed have to make
// room all the time.
func connections(o options) error {
	if err := up(o, 131072, ""); err != nil {
		return err
	}
	s, err := newService()
	if err != nil {
		return err
	}
	defer unix.Close(s.listener)
	before, err := readCounters()
	if err != nil {
		return err
	}
	var t tally
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for c := range clients {
		wg.Go(func() {
			if err := t.connect(endpoints[c%2].namespace, &next, o.connections, nil); err != nil {
				t.note(0, err)
			}
		})
	}
	wg.Wait()
	t.report("connections (want no failure)", o.connections, time.Since(start))
	if err := before.report(); err != nil {
		return err
	}
	return checkTables()
}
