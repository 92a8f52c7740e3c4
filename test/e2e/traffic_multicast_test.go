// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

// A multicast stream reaches every other endpoint of the network and the host, each datagram once and in order, and never its sender: as mDNS
// wants it.
func TestTrafficMulticast(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		group := netip.MustParseAddrPort("224.0.0.251:5353")
		if v.six {
			group = netip.MustParseAddrPort("[ff02::fb]:5353")
		}
		const datagrams = 200 // no more than a socket keeps whose reader has to wait
		var want []uint32
		for n := range uint32(datagrams) {
			want = append(want, n)
		}
		heard := map[string]func() []uint32{}
		for name, at := range map[string]struct{ ns, device string }{
			"ns2": {"ns2", "veth-ns2"}, "host": {"", "br1"},
		} {
			heard[name] = hearGroup(t, v, at.ns, at.device, group)
		}
		atSender := openCapture(t, "ns1", "veth-ns1")
		sender := udpAt(t, v.ns1, 0)
		to := group
		if v.six {
			to = netip.AddrPortFrom(group.Addr().WithZone("veth-ns1"), group.Port())
		}
		for _, n := range want {
			if _, err := sender.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, n), to); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"ns2", "host"} {
			var got []uint32
			until(t, name+" hears all", func() bool {
				got = heard[name]()
				return len(got) >= datagrams
			})
			if !slices.Equal(got, want) {
				t.Errorf("%s hears %v", name, got)
			}
		}
		atSender.none(t, "its own datagrams at the sender", func(f frame) bool {
			_, dst := f.Addrs()
			return !f.Sent && dst == group.Addr()
		})
	})
}

// hearGroup joins the group, and returns what tells the numbers that have come.
func hearGroup(t *testing.T, v variant, ns, device string, group netip.AddrPort) func() []uint32 {
	t.Helper()
	conn := within(t, ns, func() (*net.UDPConn, error) {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return nil, err
		}
		return net.ListenMulticastUDP(overIP("udp", group.Addr()), dev, net.UDPAddrFromAddrPort(group))
	})
	t.Cleanup(func() { conn.Close() })
	var (
		mu      sync.Mutex
		numbers []uint32
	)
	go func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			if n == 4 && from.Addr().WithZone("") == v.ns1.addr {
				mu.Lock()
				numbers = append(numbers, binary.BigEndian.Uint32(buffer))
				mu.Unlock()
			}
		}
	}()
	return func() []uint32 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(numbers)
	}
}
