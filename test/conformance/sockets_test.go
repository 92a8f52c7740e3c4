// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drained is how long a socket is read of which nothing is expected. What was sent before a fence is there at once.
const drained = 20 * time.Millisecond

// reuse lets sockets share a local port, as a client does that keeps its port towards several servers, or listens there, too.
func reuse(_, _ string, c syscall.RawConn) error {
	var err error
	controlErr := c.Control(func(fd uintptr) {
		err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	})
	return errors.Join(controlErr, err)
}

// udp opens a socket at a local "address:port" of a namespace; port 0 is a free one. It ends with the test.
func (h *host) udp(namespace, local string) *net.UDPConn {
	h.t.Helper()
	conn := within(h, namespace, func() (*net.UDPConn, error) {
		return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
	})
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// send sends a datagram.
func (h *host) send(from *net.UDPConn, to string, data []byte) {
	h.t.Helper()
	if _, err := from.WriteToUDPAddrPort(data, netip.MustParseAddrPort(to)); err != nil {
		h.t.Fatal(err)
	}
}

// receive waits for a datagram and fails the row, for want of what, if there is none.
func (h *host) receive(at *net.UDPConn, what string) ([]byte, netip.AddrPort) {
	h.t.Helper()
	data, from, err := read(at, patience)
	if err != nil {
		h.Failf("no %s", what)
	}
	return data, from
}

// nothing fails the row if a datagram is there. A fence goes before it.
func (h *host) nothing(at *net.UDPConn, what string) {
	h.t.Helper()
	if data, from, err := read(at, drained); err == nil {
		h.t.Logf("%s from %s: %q", what, from, data)
		h.Failf("%s is delivered", what)
	}
}

func read(at *net.UDPConn, within time.Duration) ([]byte, netip.AddrPort, error) {
	_ = at.SetReadDeadline(time.Now().Add(within))
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := at.ReadFromUDPAddrPort(buffer)
		switch {
		case err == nil:
			return buffer[:n], from, nil
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return nil, from, err
		}
		// Else an ICMP error about an earlier datagram.
	}
}

// tcpListen listens at a local "address:port" of a namespace. It ends with the test.
func (h *host) tcpListen(namespace, local string) *net.TCPListener {
	h.t.Helper()
	l := within(h, namespace, func() (net.Listener, error) {
		config := net.ListenConfig{Control: reuse}
		return config.Listen(context.Background(), "tcp", local)
	})
	h.t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// tcpAccept waits for a connection and fails the row, for want of what, if there is none.
func (h *host) tcpAccept(l *net.TCPListener, what string) *net.TCPConn {
	h.t.Helper()
	_ = l.SetDeadline(time.Now().Add(patience))
	conn, err := l.AcceptTCP()
	if err != nil {
		h.Failf("no %s", what)
	}
	h.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// tcpDial connects from a local "address:port" of a namespace, which may be shared with other connections. The row fails if it
// cannot.
func (h *host) tcpDial(namespace, local, remote string) *net.TCPConn {
	h.t.Helper()
	conn, err := h.tryDial(namespace, local, remote, patience)
	if err != nil {
		h.t.Log(err)
		h.Failf("no TCP connection from %s to %s", namespace, netip.MustParseAddrPort(remote).Addr())
	}
	return conn
}

// tryDial is tcpDial for a connection that may fail.
func (h *host) tryDial(namespace, local, remote string, timeout time.Duration) (*net.TCPConn, error) {
	h.t.Helper()
	var failed error
	conn := within(h, namespace, func() (*net.TCPConn, error) {
		d := net.Dialer{Timeout: timeout, Control: reuse, LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))}
		var c net.Conn
		if c, failed = d.Dial("tcp", remote); failed != nil {
			return nil, nil
		}
		return c.(*net.TCPConn), nil
	})
	if failed != nil {
		return nil, failed
	}
	h.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn, nil
}

// echo answers all that a listener's connections send, until the test ends.
func echo(l *net.TCPListener) {
	go func() {
		for {
			conn, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
}
