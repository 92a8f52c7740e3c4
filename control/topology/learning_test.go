// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// TestLearningSwitched has an endpoint lose its source guard, and get it back.
func TestLearningSwitched(t *testing.T) {
	sandbox(t)
	for _, r := range []reconcile.Resource{exampleNamespace, exampleBridge, exampleVeth} {
		must(t, r.Apply())
	}
	open := exampleVeth
	open.Learning = true
	for _, step := range []struct {
		to     Veth
		detail string
	}{{open, "learning off -> on"}, {exampleVeth, "learning on -> off"}} {
		p := plan(t, []reconcile.Resource{step.to}, []reconcile.Resource{exampleVeth})
		if text := p.String(); len(p) != 1 || !strings.Contains(text, step.detail) {
			t.Errorf("plan %q, want %q", text, step.detail)
		}
		must(t, step.to.Apply())
		wantStatus(t, step.to, true, reconcile.Same)
		outer, err := findLink(host(), step.to.Host)
		must(t, err)
		if on, err := learns(outer); err != nil || on != step.to.Learning {
			t.Errorf("learning is %v, error %v", on, err)
		}
	}
}

// TestFDBStays has a packet with the endpoint's MAC come by a port that learns: its entry stays where it is (IEEE 802.1D section 7.8).
func TestFDBStays(t *testing.T) {
	sandbox(t)
	other := exampleVeth
	other.Host, other.Namespace, other.Interface, other.MAC, other.Learning = "veth-x-br", "", "veth-x", MAC{2, 0, 0, 0, 0, 99}, true
	for _, r := range []reconcile.Resource{exampleNamespace, exampleBridge, exampleVeth, other, exampleFDB} {
		must(t, r.Apply())
	}
	stranger := MAC{2, 0, 0, 0, 0, 98}
	learned := func() neighbourEntry {
		r, err := openReader(make([]byte, dumpBuffer))
		must(t, err)
		defer r.close()
		all, err := r.fdb()
		must(t, err)
		return all[fdbKey{linkNamed(t, "br1"), stranger}]
	}
	for deadline := time.Now().Add(20 * time.Second); learned().index != linkNamed(t, "veth-x-br"); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the port does not learn")
		}
		sendFrom(t, "veth-x", innerMAC)
		sendFrom(t, "veth-x", stranger)
	}
	wantStatus(t, exampleFDB, true, reconcile.Same)
}

// TestFDBNotSticky has the entry as flyover made it before ports could learn.
func TestFDBNotSticky(t *testing.T) {
	sandbox(t)
	for _, r := range []reconcile.Resource{exampleNamespace, exampleBridge, exampleVeth} {
		must(t, r.Apply())
	}
	must(t, onDevice("", exampleFDB.Device, func(h handle, l netlink.Link) error {
		m := exampleFDB.message(l)
		m.Flags &^= netlink.NTF_STICKY
		return h.NeighSet(m)
	}))
	wantStatus(t, exampleFDB, true, reconcile.Different)
	must(t, exampleFDB.Apply())
	wantStatus(t, exampleFDB, true, reconcile.Same)
}

func linkNamed(t *testing.T, name string) int {
	t.Helper()
	l, err := findLink(host(), name)
	must(t, err)
	return l.Attrs().Index
}

// sendFrom broadcasts a frame of the MAC by the device.
func sendFrom(t *testing.T, device string, mac MAC) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac[:]...)
	frame = append(append(frame, 0x88, 0xb5), make([]byte, 46)...)
	must(t, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: linkNamed(t, device)}))
}

// learns says whether a bridge port learns addresses from packets.
func learns(port netlink.Link) (bool, error) {
	flag, err := linkInfo(port.Attrs().Index, nl.IFLA_INFO_SLAVE_DATA, nl.IFLA_BRPORT_LEARNING)
	return len(flag) == 1 && flag[0] != 0, err
}
