// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"

	"flyover/test/wire"
)

const (
	frameSize = 14 + 20 + 8 + 8 // Ethernet, IPv4, UDP, payload
	batchSize = 64
)

// flow is the tuple of a UDP datagram from an endpoint.
type flow struct {
	remote                 uint32
	insidePort, remotePort uint16
	identity               uint64 // the payload
}

// sender sends frames of an endpoint as they are, many a system call: its sockets could not be as many.
type sender struct {
	fd      int
	source  uint32
	head    [14]byte
	frames  [batchSize][frameSize]byte
	vectors [batchSize]unix.Iovec
	batch   [batchSize]message
	filled  int
	blocked int // times that the veth pair's queue was full; the frame was sent again
}

// message is the kernel's struct mmsghdr; Go pads it alike.
type message struct {
	header unix.Msghdr
	_      uint32
}

// newSender sends from the namespace's endpoint to the gateway.
func newSender(namespace string, source [4]byte) (*sender, error) {
	device := "veth-" + namespace
	fd, err := wire.Socket(namespace, device, 0)
	if err != nil {
		return nil, err
	}
	s := &sender{fd: fd, source: binary.BigEndian.Uint32(source[:])}
	own, err := wire.In(namespace, func() (*net.Interface, error) { return net.InterfaceByName(device) })
	if err != nil {
		return nil, err
	}
	gateway, err := net.InterfaceByName("br1")
	if err != nil {
		return nil, err
	}
	copy(s.head[0:], gateway.HardwareAddr)
	copy(s.head[6:], own.HardwareAddr)
	binary.BigEndian.PutUint16(s.head[12:], unix.ETH_P_IP)
	for i := range s.batch {
		s.vectors[i].Base = &s.frames[i][0]
		s.vectors[i].SetLen(frameSize)
		s.batch[i].header.Iov = &s.vectors[i]
		s.batch[i].header.SetIovlen(1)
	}
	return s, nil
}

func (s *sender) close() { unix.Close(s.fd) }

// send sends a datagram, at the latest with flush.
func (s *sender) send(f flow) error {
	s.write(s.frames[s.filled][:], f)
	s.filled++
	if s.filled == batchSize {
		return s.flush()
	}
	return nil
}

func (s *sender) write(b []byte, f flow) {
	copy(b, s.head[:])
	ip, udp := b[14:34], b[34:frameSize]
	copy(ip, []byte{0x45, 0, 0, frameSize - 14, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0})
	binary.BigEndian.PutUint32(ip[12:], s.source)
	binary.BigEndian.PutUint32(ip[16:], f.remote)
	binary.BigEndian.PutUint16(ip[10:], ^checksum(0, ip))
	binary.BigEndian.PutUint16(udp[0:], f.insidePort)
	binary.BigEndian.PutUint16(udp[2:], f.remotePort)
	binary.BigEndian.PutUint32(udp[4:], (frameSize-34)<<16) // length, and no checksum yet
	binary.BigEndian.PutUint64(udp[8:], f.identity)
	pseudo := uint32(checksum(unix.IPPROTO_UDP+frameSize-34, ip[12:20]))
	if sum := ^checksum(pseudo, udp); sum != 0 {
		binary.BigEndian.PutUint16(udp[6:], sum)
	} else {
		binary.BigEndian.PutUint16(udp[6:], 0xffff)
	}
}

// checksum is the ones' complement sum of RFC 1071, not yet inverted.
func checksum(sum uint32, b []byte) uint16 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum)
}

// flush sends what is there. A full queue behind the socket is reported by ENOBUFS, and the frame is sent anew.
func (s *sender) flush() error {
	for at := 0; at < s.filled; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.batch[at])), uintptr(s.filled-at), 0, 0, 0)
		switch {
		case errno == 0:
			at += int(n)
		case errors.Is(errno, unix.ENOBUFS):
			s.blocked++
		case !errors.Is(errno, unix.EINTR):
			return fmt.Errorf("send frames: %w", errno)
		}
	}
	s.filled = 0
	return nil
}
