// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// foreignHost has under our names what somebody else made.
func foreignHost(t *testing.T) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br1"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "veth-ns1-br"}))
	must(t, exampleNamespace.Apply())
}

func TestForeign(t *testing.T) {
	sandbox(t)
	foreignHost(t)
	before := snapshot(t)
	o := wantStatus(t, exampleBridge, true, reconcile.Foreign)
	if want := "interface br1 exists (veth), not made by flyover"; o.Detail != want {
		t.Errorf("detail %q, want %q", o.Detail, want)
	}
	observed, err := reconcile.Observe(example(), nil)
	must(t, err)
	_, err = reconcile.Diff(example(), nil, observed)
	var foreign reconcile.ForeignError
	if !errors.As(err, &foreign) || len(foreign) != 3 {
		t.Errorf("diff: %v, want the namespace, the bridge and the pair", err)
	}
	must(t, exampleBridge.Remove())
	must(t, exampleVeth.Remove())
	for _, r := range []reconcile.Resource{exampleBridge, exampleVeth} {
		if err := r.Apply(); err == nil {
			t.Errorf("apply %s takes over a foreign link", reconcile.Name(r))
		}
	}
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Errorf("foreign objects changed:\n%s", diff)
	}
}

func TestForeignAlternativeName(t *testing.T) {
	sandbox(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	l, err := netlink.LinkByName("eth0")
	must(t, err)
	must(t, netlink.LinkAddAltName(l, "br1"))
	o := wantStatus(t, exampleBridge, true, reconcile.Foreign)
	if !strings.Contains(o.Detail, "another name of eth0") {
		t.Error(o.Detail)
	}
}

func TestForeignHostRoute(t *testing.T) {
	sandbox(t)
	must(t, exampleBridge.Apply())
	must(t, exampleGateway.Apply())
	r := Route{Destination: netip.MustParsePrefix("10.0.0.0/8"), Gateway: netip.MustParseAddr("192.168.15.1"), Device: "br1"}
	wantStatus(t, r, false, reconcile.Absent)
	must(t, r.Apply())
	wantStatus(t, r, false, reconcile.Foreign)
	wantStatus(t, r, true, reconcile.Same)
	must(t, r.Remove())
	wantStatus(t, r, true, reconcile.Absent)
}

// TestHalfMade has links as a crash between making and tagging leaves them: ours when the state file says so, else not.
func TestHalfMade(t *testing.T) {
	sandbox(t)
	must(t, exampleNamespace.Apply())
	must(t, exampleBridge.Apply())
	must(t, exampleVeth.Apply())
	for _, name := range []string{"br1", "veth-ns1-br"} {
		l, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetAlias(l, ""))
	}
	for _, r := range []reconcile.Resource{exampleBridge, exampleVeth} {
		wantStatus(t, r, false, reconcile.Foreign)
		wantStatus(t, r, true, reconcile.Different)
		must(t, r.Apply())
		wantStatus(t, r, false, reconcile.Same)
	}
}

// TestFailureLeavesNothing makes a pair whose bridge is missing: the step after making it fails.
func TestFailureLeavesNothing(t *testing.T) {
	sandbox(t)
	must(t, exampleNamespace.Apply())
	before := snapshot(t)
	if err := exampleVeth.Apply(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("apply without a bridge: %v", err)
	}
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Error(diff)
	}
}

func TestSTP(t *testing.T) {
	sandbox(t)
	must(t, exampleBridge.Apply())
	must(t, unix.Mount("sysfs", "/sys", "sysfs", 0, ""))
	must(t, os.WriteFile("/sys/class/net/br1/bridge/stp_state", []byte("1"), 0))
	wantStatus(t, exampleBridge, true, reconcile.Different)
	must(t, exampleBridge.Apply())
	wantStatus(t, exampleBridge, true, reconcile.Same)
}

// TestNamespaceDir starts without /run/netns as a mount point.
func TestNamespaceDir(t *testing.T) {
	sandbox(t)
	must(t, unix.Unmount(namespaceDir, unix.MNT_DETACH))
	must(t, os.Remove(namespaceDir))
	must(t, exampleNamespace.Apply())
	must(t, Namespace{Name: "ns2"}.Apply())
	wantStatus(t, exampleNamespace, true, reconcile.Same)
	wantStatus(t, exampleNamespace, false, reconcile.Foreign)
	must(t, exampleNamespace.Remove())
	wantStatus(t, exampleNamespace, true, reconcile.Absent)
	wantStatus(t, Namespace{Name: "ns2"}, true, reconcile.Same)
}

func TestOneQueue(t *testing.T) {
	sandbox(t)
	must(t, exampleNamespace.Apply())
	must(t, exampleBridge.Apply())
	must(t, exampleVeth.Apply())
	for namespace, device := range map[string]string{"": "veth-ns1-br", "ns1": "veth-ns1"} {
		must(t, onDevice(namespace, device, func(_ handle, l netlink.Link) error {
			a := l.Attrs()
			if a.NumTxQueues != 1 || a.NumRxQueues != 1 || a.TxQLen != 1000 {
				t.Errorf("%s: %d, %d queues of %d", device, a.NumTxQueues, a.NumRxQueues, a.TxQLen)
			}
			return nil
		}))
	}
}
