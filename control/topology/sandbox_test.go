// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// sandbox moves the test to network and mount namespaces of its own, with an empty /run. The thread is never unlocked, so it
// ends with the test. A subtest runs on another thread: it needs a sandbox of its own.
func sandbox(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root, to make network and mount namespaces")
	}
	runtime.LockOSThread()
	must(t, unix.Unshare(unix.CLONE_NEWNET|unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "none", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	must(t, os.Mkdir(namespaceDir, 0o755))
	must(t, unix.Mount("tmpfs", namespaceDir, "tmpfs", 0, ""))
}

// snapshot renders everything that the resources can touch, the same for the same state.
func snapshot(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	render(t, &b, host(), "host")
	entries, err := os.ReadDir(namespaceDir)
	must(t, err)
	for _, e := range entries {
		err := within(e.Name(), func(h handle) error { render(t, &b, h, e.Name()); return nil })
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", e.Name(), err)
		}
	}
	return b.String()
}

func render(t *testing.T, b *strings.Builder, h handle, space string) {
	t.Helper()
	names := map[int]string{}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	links, err := h.LinkList()
	must(t, err)
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range links {
		a := l.Attrs()
		flags := a.RawFlags &^ (unix.IFF_RUNNING | unix.IFF_LOWER_UP) // the carrier follows later
		add("link %s %s %d %v %q %x master %s", a.Name, l.Type(), a.MTU, a.HardwareAddr, a.Alias, flags, names[a.MasterIndex])
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	must(t, err)
	for _, a := range addrs {
		if a.Scope != unix.RT_SCOPE_LINK { // IPv6 gives these to itself, in its own time
			add("addr %s %s", names[a.LinkIndex], a)
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.RouteListFiltered(family, &netlink.Route{Type: unix.RTN_UNICAST}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
		must(t, err)
		for _, r := range routes {
			if !r.Dst.IP.IsLinkLocalUnicast() {
				add("route %v via %v dev %s table %d", r.Dst, r.Gw, names[r.LinkIndex], r.Table)
			}
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6, unix.AF_BRIDGE} {
		neighs, err := h.NeighList(0, family)
		must(t, err)
		for _, n := range neighs {
			if n.IP.IsMulticast() || len(n.HardwareAddr) > 0 && n.HardwareAddr[0]&1 != 0 {
				continue // the stack makes these when it joins its groups, in its own time
			}
			add("neigh %d %s %v %v %x %x", family, names[n.LinkIndex], n.IP, n.HardwareAddr, n.State, n.Flags)
		}
	}
	slices.Sort(lines)
	fmt.Fprintf(b, "%s\n%s\n", space, strings.Join(lines, "\n"))
}

func wantStatus(t *testing.T, r reconcile.Resource, owned bool, want reconcile.Status) reconcile.Observation {
	t.Helper()
	survey := reconcile.NewSurvey(r)
	defer survey.End()
	o, err := r.Observe(survey, owned)
	must(t, err)
	if o.Status != want {
		t.Fatalf("observe %s: %v (%s), want %v", reconcile.Name(r), o.Status, o.Detail, want)
	}
	if (o.Detail == "") != (want == reconcile.Same || want == reconcile.Absent) {
		t.Errorf("observe %s: %v with detail %q", reconcile.Name(r), o.Status, o.Detail)
	}
	return o
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
