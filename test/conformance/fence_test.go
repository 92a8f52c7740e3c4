// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"net"
	"time"

	"flyover/test/wire"
)

// fenceID is the ICMP identifier of all fences. It is below what NATs give out, so that the replies are the host's own.
const fenceID = 1

// fence returns when what was sent before has arrived or will not: pings take the way of packets between a namespace and the
// outside, both ways, in two parts, so that they do not need what is tested. The row fails if they are not answered.
func (h *host) fence(namespace string) {
	h.t.Helper()
	for _, way := range [][2]string{
		{namespace, addrGateway}, {"", addrOutside}, {outside, addrUplink}, {"", addr4.of(namespace)},
	} {
		if err := h.ping(way[0], way[1]); err != nil {
			h.t.Log(err)
			h.Failf("no answer to a ping from %q to %s", way[0], way[1])
		}
	}
}

// ping sends one echo request and waits for the reply.
func (h *host) ping(namespace, to string) error {
	h.t.Helper()
	conn := within(h, namespace, func() (*net.IPConn, error) {
		return net.DialIP("ip4:icmp", nil, &net.IPAddr{IP: net.ParseIP(to)})
	})
	defer conn.Close()
	h.pings++
	request := []byte{8, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(request[4:], fenceID)
	binary.BigEndian.PutUint16(request[6:], h.pings)
	binary.BigEndian.PutUint16(request[2:], ^wire.Sum(request))
	if _, err := conn.Write(request); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for reply := make([]byte, 1<<16); ; {
		n, _, err := conn.ReadFrom(reply)
		if err != nil {
			return err
		}
		if n == len(request) && reply[0] == 0 && string(reply[4:8]) == string(request[4:]) {
			return nil
		}
	}
}
