// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"testing"

	"github.com/vishvananda/netlink"

	"flyover/control/reconcile"
)

func TestSysctl(t *testing.T) {
	sandbox(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0.100"
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	s := &Sysctl{Key: "net/ipv4/conf/eth0.100/rp_filter", Value: "2"}
	was, err := s.read()
	must(t, err)
	wantStatus(t, s, false, reconcile.Different)
	must(t, s.Prepare())
	must(t, s.Apply())
	wantStatus(t, s, true, reconcile.Same)

	heir := &Sysctl{Key: s.Key, Value: "1"}
	heir.Inherit(s)
	must(t, heir.Apply())
	must(t, heir.Remove())
	if now, err := s.read(); err != nil || now != was {
		t.Errorf("restored to %q (%v), was %q", now, err, was)
	}
}

func TestSysctlLeavesWhatWasSo(t *testing.T) {
	sandbox(t)
	s := &Sysctl{Key: "net/ipv4/conf/lo/rp_filter", Value: "1"}
	must(t, s.Apply())
	must(t, s.Prepare())
	must(t, (&Sysctl{Key: s.Key, Value: "2"}).Apply())
	must(t, s.Remove())
	if now, err := s.read(); err != nil || now != "2" {
		t.Errorf("now %q (%v): restored although ours was no change", now, err)
	}
}

func TestSysctlMissing(t *testing.T) {
	sandbox(t)
	s := &Sysctl{Key: "net/ipv4/conf/gone/rp_filter", Value: "1", Was: "0"}
	wantStatus(t, s, true, reconcile.Absent)
	must(t, s.Remove())
	if s.Apply() == nil {
		t.Error("a missing sysctl is set")
	}
}

func TestSysctlKeyStaysInside(t *testing.T) {
	s := &Sysctl{Key: "../../etc/hostname", Value: "x", Was: "y"}
	if s.Apply() == nil || s.Remove() == nil {
		t.Error("a key leaves /proc/sys")
	}
}

func TestSysctlOfSeveralNumbers(t *testing.T) {
	sandbox(t)
	s := &Sysctl{Key: "net/ipv4/ip_local_port_range", Value: "30000 40000"}
	must(t, s.Prepare())
	must(t, s.Apply())
	wantStatus(t, s, true, reconcile.Same)
}
