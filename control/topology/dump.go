// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dumpBuffer takes any part of a dump: the kernel sends 32 KiB at most at a time.
const dumpBuffer = 64 << 10

// reader reads whole tables of one network namespace, that of the thread which opened it. The library's dumps ask for less than we
// look at, and parse more.
type reader struct {
	fd       int
	sequence uint32
	buffer   []byte
}

// openReader opens a reader, which the caller closes. The buffer is for dumpBuffer bytes.
func openReader(buffer []byte) (*reader, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &reader{fd: fd, buffer: buffer}, nil
}

func (r *reader) close() { unix.Close(r.fd) }

// table returns the bodies of all messages of a table, of which request asks for a dump with this body.
func (r *reader) table(request uint16, body []byte) ([][]byte, error) {
	return dump(func() ([][]byte, error) {
		if err := r.send(request, body); err != nil {
			return nil, err
		}
		var messages [][]byte
		interrupted := false
		for done := false; !done; {
			n, _, err := unix.Recvfrom(r.fd, r.buffer, 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("receive netlink dump: %w", err)
			}
			if messages, done, err = r.split(messages, bytes.Clone(r.buffer[:n]), &interrupted); err != nil {
				return nil, err
			}
		}
		if interrupted {
			return messages, netlink.ErrDumpInterrupted
		}
		return messages, nil
	})
}

func (r *reader) send(request uint16, body []byte) error {
	r.sequence++
	message := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	native := binary.NativeEndian
	native.PutUint32(message[0:], uint32(unix.SizeofNlMsghdr+len(body)))
	native.PutUint16(message[4:], request)
	native.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	native.PutUint32(message[8:], r.sequence)
	if err := unix.Sendto(r.fd, append(message, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send netlink request: %w", err)
	}
	return nil
}

// split adds the bodies of the messages in data. Done says that the last one was the dump's end.
func (r *reader) split(messages [][]byte, data []byte, interrupted *bool) (_ [][]byte, done bool, err error) {
	native := binary.NativeEndian
	for len(data) >= unix.SizeofNlMsghdr {
		size := int(native.Uint32(data))
		if size < unix.SizeofNlMsghdr || size > len(data) {
			return nil, false, fmt.Errorf("receive netlink dump: message of %d bytes in %d", size, len(data))
		}
		body := data[unix.SizeofNlMsghdr:size]
		kind, flags, sequence := native.Uint16(data[4:]), native.Uint16(data[6:]), native.Uint32(data[8:])
		data = data[min(aligned(size), len(data)):]
		if sequence != r.sequence { // the rest of a dump that was given up
			continue
		}
		*interrupted = *interrupted || flags&unix.NLM_F_DUMP_INTR != 0
		switch kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if len(body) >= 4 {
				if code := int32(native.Uint32(body)); code != 0 {
					return nil, false, fmt.Errorf("dump: %w", unix.Errno(-code))
				}
			}
			return messages, true, nil
		}
		messages = append(messages, body)
	}
	return messages, false, nil
}

// attributes calls each for the attributes in data, and stops at one that is cut off.
func attributes(data []byte, each func(typ uint16, value []byte)) {
	for len(data) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(data))
		if size < unix.SizeofRtAttr || size > len(data) {
			return
		}
		each(binary.NativeEndian.Uint16(data[2:])&nl.NLA_TYPE_MASK, data[unix.SizeofRtAttr:size])
		data = data[min(aligned(size), len(data)):]
	}
}

// aligned is where what comes after size bytes starts, in a message and in a row of messages alike.
func aligned(size int) int { return (size + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// number reads what an attribute holds, 0 if it is cut off.
func number(value []byte) int {
	if len(value) < 4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(value))
}
