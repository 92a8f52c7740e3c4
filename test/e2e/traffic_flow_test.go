// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"
)

// place is where one end of a flow is.
type place struct {
	ns   string
	addr netip.Addr // that others reach it by
}

var (
	inNS1     = place{"ns1", addrNS1}
	inNS2     = place{"ns2", addrNS2}
	atOutside = place{outside, addrOutside}
)

// payload is n octets that look random and are the same in every run.
func payload(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// overIP is what package net calls a protocol over the version of IP that the address is of.
func overIP(protocol string, addr netip.Addr) string {
	if addr.Is4() {
		return protocol + "4"
	}
	return protocol + "6"
}

// udpAt opens a UDP socket at a place, at a free port if port is 0.
func udpAt(t *testing.T, p place, port uint16) *net.UDPConn {
	t.Helper()
	conn := within(t, p.ns, func() (*net.UDPConn, error) {
		return net.ListenUDP(overIP("udp", p.addr), net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.addr, port)))
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

func portOf(a net.Addr) uint16 {
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Port()
}

// udpEcho starts a server that sends everything back, and returns its port. seen is called with each sender.
func udpEcho(t *testing.T, p place, seen func(netip.AddrPort)) uint16 {
	t.Helper()
	conn := udpAt(t, p, 0)
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			seen(from)
			_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
		}
	}()
	return portOf(conn.LocalAddr())
}

// udpAsk sends one datagram and wants it back.
func udpAsk(t *testing.T, from place, to netip.AddrPort, data []byte) error {
	t.Helper()
	conn := udpAt(t, from, 0)
	defer conn.Close()
	if _, err := conn.WriteToUDPAddrPort(data, to); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	buffer := make([]byte, 1<<16)
	n, sender, err := conn.ReadFromUDPAddrPort(buffer)
	switch {
	case err != nil:
		return err
	case sender != to:
		return errors.New("answer from " + sender.String())
	case !bytes.Equal(buffer[:n], data):
		return errors.New("answer differs")
	}
	return nil
}

// tcpServe starts a server that answers each connection by the function, and returns its port.
func tcpServe(t *testing.T, p place, answer func(*net.TCPConn)) uint16 {
	t.Helper()
	listener := within(t, p.ns, func() (*net.TCPListener, error) {
		return net.ListenTCP(overIP("tcp", p.addr), net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.addr, 0)))
	})
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(patience))
				answer(conn)
			}()
		}
	}()
	return portOf(listener.Addr())
}

// tcpDial connects from a place.
func tcpDial(t *testing.T, from place, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	conn := within(t, from.ns, func() (*net.TCPConn, error) {
		d := net.Dialer{Timeout: patience}
		c, err := d.Dial(overIP("tcp", to.Addr()), to.String())
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	})
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// tcpTransfer sends n octets by a connection from one place to another, gets as many back, and compares the hashes. The server
// answers with what it has received only after all of it, so that each direction is loaded on its own.
func tcpTransfer(t *testing.T, from, to place, n int) {
	t.Helper()
	port := tcpServe(t, to, func(conn *net.TCPConn) {
		data, err := io.ReadAll(conn)
		if err == nil {
			_, _ = conn.Write(data)
		}
	})
	conn := tcpDial(t, from, netip.AddrPortFrom(to.addr, port))
	data := payload(n)
	want := sha256.Sum256(data)
	if _, err := conn.Write(data); err != nil {
		t.Fatalf("%s to %s: send %d octets: %v", from.addr, to.addr, n, err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	got, err := io.Copy(hash, conn)
	if err != nil || got != int64(n) || !bytes.Equal(hash.Sum(nil), want[:]) {
		t.Errorf("%s to %s: %d octets came back of %d, or others; error %v", from.addr, to.addr, got, n, err)
	}
}
