// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// measureTCP sends one byte there and one back, over and over on one connection, and counts the round trips. With both ends
// on one CPU it tells what a round trip costs; with two it would tell how long the other CPU takes to wake up.
func measureTCP(from, to place, window time.Duration) (answer, error) {
	ports := make(chan int, 1)
	var trips int
	var took, asking, answering time.Duration
	server := to.run(func() (err error) {
		answering, err = timed(func() error { return answerBytes(to, ports) })
		return err
	})
	var client <-chan error
	select {
	case port := <-ports:
		client = from.run(func() (err error) {
			asking, err = timed(func() (err error) {
				trips, took, err = askBytes(to, port, window)
				return err
			})
			return err
		})
	case err := <-server:
		return answer{}, fmt.Errorf("answer: %w", err)
	}
	if err := <-client; err != nil {
		return answer{}, fmt.Errorf("ask: %w", err)
	}
	if err := <-server; err != nil {
		return answer{}, fmt.Errorf("answer: %w", err)
	}
	return answer{
		Rate: float64(trips) / took.Seconds(),
		Work: float64(trips) / (asking + answering).Seconds(),
	}, nil
}

// timed returns the CPU time that the calling thread takes for f.
func timed(f func() error) (time.Duration, error) {
	before, err := cpuTime()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := cpuTime()
	return after - before, err
}

// askBytes returns the number of round trips and the time that they took.
func askBytes(to place, port int, window time.Duration) (trips int, took time.Duration, err error) {
	fd, err := dial(unix.SOCK_STREAM, to, port)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd)
	var b [1]byte
	start := time.Now()
	for ; time.Since(start) < window; trips++ {
		if err := transfer(unix.SYS_WRITE, fd, &b); err != nil {
			return 0, 0, err
		}
		if err := transfer(unix.SYS_READ, fd, &b); err != nil {
			return 0, 0, err
		}
	}
	return trips, time.Since(start), nil
}

// answerBytes takes one connection and sends back what comes, until it is closed.
func answerBytes(at place, ports chan<- int) error {
	listener, port, err := at.listen(unix.SOCK_STREAM, patience)
	if err != nil {
		return err
	}
	defer unix.Close(listener)
	if err := unix.Listen(listener, 1); err != nil {
		return err
	}
	ports <- port
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var b [1]byte
	for {
		if err := transfer(unix.SYS_READ, fd, &b); errors.Is(err, errClosed) {
			return nil
		} else if err != nil {
			return err
		}
		if err := transfer(unix.SYS_WRITE, fd, &b); err != nil {
			return err
		}
	}
}

// errClosed is the end of a connection.
var errClosed = errors.New("the other end is closed")

// transfer reads or writes one byte. It bypasses Go's scheduler, whose work would be measured too.
func transfer(trap uintptr, fd int, b *[1]byte) error {
	for {
		n, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(b)), 1)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return errno
		case n == 0:
			return errClosed
		default:
			return nil
		}
	}
}
