// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

var (
	exampleShard = Bridge{Name: "br1+1", MTU: 1500, MAC: MAC{2, 0, 0, 0, 0, 11}, Network: "br1", Shard: true}
	exampleTrunk = Trunk{Down: "br1+1d", Up: "br1+1u", Network: "br1", Shard: "br1+1", MTU: 1500, MAC: bridgeMAC}
	exampleWay   = FDB{Device: "br1+1u", MAC: bridgeMAC}
	exampleBack  = FDB{Device: "br1+1d", MAC: innerMAC}
)

// shardExample is an endpoint on a shard, in dependency order.
func shardExample() []reconcile.Resource {
	port := exampleVeth
	port.Bridge, port.NoFlood = exampleShard.Name, true
	return []reconcile.Resource{
		exampleBridge, exampleShard, exampleTrunk, exampleWay, exampleNamespace, port, exampleFDB, exampleBack,
	}
}

func TestShardUpAndDown(t *testing.T) {
	sandbox(t)
	before := snapshot(t)
	want := shardExample()
	converge(t, want, nil)
	up := snapshot(t)
	if p := plan(t, shardExample(), stored(t, want)); len(p) != 0 {
		t.Errorf("second plan:\n%s", p)
	}
	for _, r := range want {
		must(t, r.Apply())
	}
	if diff := cmp.Diff(up, snapshot(t)); diff != "" {
		t.Errorf("applied twice:\n%s", diff)
	}
	converge(t, nil, stored(t, want))
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
	for _, r := range want {
		must(t, r.Remove())
	}
}

// TestShardRepair changes the finished topology by hand, and wants the resource to see it and everything to be as before.
func TestShardRepair(t *testing.T) {
	link := func(name string, change func(netlink.Link) error) func() error {
		return func() error { return onDevice("", name, func(_ handle, l netlink.Link) error { return change(l) }) }
	}
	speak := func(name string) func() error {
		return func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("0"), 0) }
	}
	port := shardExample()[5]
	for name, test := range map[string]struct {
		change func() error
		seen   reconcile.Resource
		want   reconcile.Status
	}{
		"shard is heard": {link("br1+1", func(l netlink.Link) error {
			return netlink.QdiscDel(&netlink.GenericQdisc{
				QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
				QdiscType:  "clsact",
			})
		}), exampleShard, reconcile.Different},
		"shard speaks": {speak("br1+1"), exampleShard, reconcile.Different},
		"trunk speaks": {speak("br1+1u"), exampleTrunk, reconcile.Different},
		"trunk gone":   {link("br1+1d", netlink.LinkDel), exampleTrunk, reconcile.Absent},
		"trunk mac": {link("br1+1d", func(l netlink.Link) error {
			return netlink.LinkSetHardwareAddr(l, innerMAC.Hardware())
		}), exampleTrunk, reconcile.Different},
		"trunk mtu":         {link("br1+1d", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1400) }), exampleTrunk, reconcile.Different},
		"trunk down":        {link("br1+1u", netlink.LinkSetDown), exampleTrunk, reconcile.Different},
		"trunk freed":       {link("br1+1u", netlink.LinkSetNoMaster), exampleTrunk, reconcile.Different},
		"trunk learns":      {link("br1+1u", func(l netlink.Link) error { return netlink.LinkSetLearning(l, true) }), exampleTrunk, reconcile.Different},
		"trunk floods down": {link("br1+1d", func(l netlink.Link) error { return netlink.LinkSetFlood(l, true) }), exampleTrunk, reconcile.Different},
		"trunk floods not":  {link("br1+1u", func(l netlink.Link) error { return netlink.LinkSetFlood(l, false) }), exampleTrunk, reconcile.Different},
		"trunk untagged":    {link("br1+1d", func(l netlink.Link) error { return netlink.LinkSetAlias(l, "") }), exampleTrunk, reconcile.Different},
		"port floods":       {link("veth-ns1-br", func(l netlink.Link) error { return netlink.LinkSetFlood(l, true) }), port, reconcile.Different},
		"way gone":          {exampleWay.Remove, exampleWay, reconcile.Absent},
		"way back gone":     {exampleBack.Remove, exampleBack, reconcile.Absent},
	} {
		t.Run(name, func(t *testing.T) {
			sandbox(t)
			owned := shardExample()
			converge(t, owned, nil)
			before := settle(snapshot(t))
			must(t, test.change())
			wantStatus(t, test.seen, true, test.want)
			for range 3 {
				converge(t, shardExample(), owned)
			}
			if p := plan(t, shardExample(), owned); len(p) != 0 {
				t.Errorf("does not converge:\n%s", p)
			}
			if diff := cmp.Diff(before, settle(snapshot(t))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestForeignTrunk has interfaces of the trunk's names that somebody else made: one of them, or both.
func TestForeignTrunk(t *testing.T) {
	for _, peer := range []string{"br1+1u", "else"} {
		t.Run(peer, func(t *testing.T) {
			sandbox(t)
			must(t, exampleBridge.Apply())
			must(t, exampleShard.Apply())
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.Alias = "br1+1d", "mine"
			must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}))
			must(t, onDevice("", "br1+1d", func(h handle, l netlink.Link) error { return h.LinkSetAlias(l, "mine") }))
			wantStatus(t, exampleTrunk, true, reconcile.Foreign)
			if exampleTrunk.Apply() == nil {
				t.Error("somebody else's interface becomes a trunk")
			}
			must(t, exampleTrunk.Remove())
			wantStatus(t, exampleTrunk, true, reconcile.Foreign)
		})
	}
}

// TestShardHearsNothing sends a broadcast by a port of the shard: the host has it from the network's own bridge, once.
func TestShardHearsNothing(t *testing.T) {
	sandbox(t)
	for _, r := range shardExample() {
		must(t, r.Apply())
	}
	must(t, exampleGateway.Apply())
	must(t, exampleAddress.Apply())
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Port: 4001}))
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
	send := func(text string) {
		must(t, within("ns1", func(h handle) error {
			return h.enter(func() error {
				s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
				if err != nil {
					return err
				}
				defer unix.Close(s)
				must(t, unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
				must(t, unix.Bind(s, &unix.SockaddrInet4{Addr: exampleAddress.Prefix.Addr().As4()}))
				return unix.Sendto(s, []byte(text), 0, &unix.SockaddrInet4{Port: 4001, Addr: [4]byte{192, 168, 15, 255}})
			})
		}))
	}
	buffer := make([]byte, 16)
	for _, text := range []string{"first", "second"} {
		send(text)
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		must(t, err)
		if got := string(buffer[:n]); got != text {
			t.Errorf("the host hears %q, want %q", got, text)
		}
	}
}
