// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TestMessagesThatAreCutOff has parsers end with what there is, wherever that is.
func TestMessagesThatAreCutOff(t *testing.T) {
	sandbox(t)
	for _, r := range example() {
		must(t, r.Apply())
	}
	r, err := openReader(make([]byte, dumpBuffer))
	must(t, err)
	defer r.close()
	ignore := func(uint16, []byte) {}
	for name, table := range map[string]struct {
		request uint16
		body    []byte
		parse   func([]byte)
	}{
		"links":      {unix.RTM_GETLINK, (&nl.IfInfomsg{}).Serialize(), func(m []byte) { parseLink(m) }},
		"routes":     {unix.RTM_GETROUTE, (&nl.RtMsg{}).Serialize(), func(m []byte) { parseRoute(m) }},
		"neighbours": {unix.RTM_GETNEIGH, (&netlink.Ndmsg{}).Serialize(), func(m []byte) { parseNeighbour(m, ignore) }},
	} {
		messages, err := r.table(table.request, table.body)
		must(t, err)
		if len(messages) == 0 {
			t.Errorf("no %s", name)
		}
		for _, m := range messages {
			for size := range m {
				table.parse(m[:size])
			}
		}
	}
}

// TestRefusedDump has the kernel's reason in the error.
func TestRefusedDump(t *testing.T) {
	sandbox(t)
	r, err := openReader(make([]byte, dumpBuffer))
	must(t, err)
	defer r.close()
	if _, err := r.table(unix.RTM_NEWLINK, (&nl.IfInfomsg{}).Serialize()); err == nil {
		t.Error("a request that is no dump is answered")
	}
	if links, err := r.links(); err != nil || links["lo"] == nil {
		t.Errorf("after a refused dump: %v, %v", links, err)
	}
}
