// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/wire"
)

// patient bounds what a connection waits for.
const patient = 30 * time.Second

// talk has so many random pairs of so many endpoints ping and connect to each other, while one that nobody speaks to listens. Asked is whether
// neighbours are never asked for, as with the eBPF datapath.
func talk(endpoints, pairs int, quiet bool) error {
	random := rand.New(rand.NewPCG(uint64(endpoints), 1))
	listener := random.IntN(endpoints)
	if endpoints < 3 {
		return nil
	}
	capture, err := wire.Open(endpointName(listener), "eth0")
	if err != nil {
		return err
	}
	defer capture.Close()
	other := func(not ...int) int {
		for {
			i := random.IntN(endpoints)
			if i != listener && (len(not) == 0 || i != not[0]) {
				return i
			}
		}
	}
	var unreached []error
	for range pairs {
		from := other()
		to := other(from)
		_, pinged := command("ip", "netns", "exec", endpointName(from), "ping", "-c", "1", "-W", "10", endpointAddr(to).String())
		if err := errors.Join(pinged, connect(endpointName(from), endpointName(to), endpointAddr(to))); err != nil {
			unreached = append(unreached, err)
		}
	}
	foreign := len(capture.All(func(f wire.Frame) bool { return !f.Sent && f.Data()[0]&1 == 0 }))
	asked := len(capture.All(isQuestion))
	say("pairs that reach each other by ping and TCP", "%d of %d", pairs-len(unreached), pairs)
	say("what a third hears of that", "%d unicast frames of others, %d questions for neighbours", foreign, asked)
	if foreign > 0 || quiet && asked > 0 {
		unreached = append(unreached, fmt.Errorf("%s hears what is not for it", endpointName(listener)))
	}
	return errors.Join(unreached...)
}

// isQuestion matches ARP and neighbour solicitations that come in.
func isQuestion(f wire.Frame) bool {
	icmp := f.ICMPv6()
	return !f.Sent && (f.ARP() != nil || icmp != nil && icmp.TypeCode.Type() == layers.ICMPv6TypeNeighborSolicitation)
}

// connect opens a TCP connection from one namespace to an address in another, and passes one octet.
func connect(from, to string, addr netip.Addr) error {
	listener, err := wire.In(to, func() (net.Listener, error) { return net.Listen("tcp4", netip.AddrPortFrom(addr, 0).String()) })
	if err != nil {
		return err
	}
	defer listener.Close()
	conn, err := wire.In(from, func() (net.Conn, error) { return net.DialTimeout("tcp4", listener.Addr().String(), patient) })
	if err != nil {
		return err
	}
	defer conn.Close()
	accepted, err := listener.Accept()
	if err != nil {
		return err
	}
	defer accepted.Close()
	octet := []byte{42}
	if _, err := conn.Write(octet); err != nil {
		return err
	}
	if err := accepted.SetReadDeadline(time.Now().Add(patient)); err != nil {
		return err
	}
	_, err = accepted.Read(octet)
	return err
}
