// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/control"
)

// Columns are as wide as their page needs, and what has been read is written page by page, however long the list.
func TestListingAlignsPages(t *testing.T) {
	var out strings.Builder
	l, err := newListing(&out, output{format: "text"}, mappingHeader, "no mappings")
	if err != nil {
		t.Fatal(err)
	}
	add := func(inside string) {
		m := control.MappingStatus{Protocol: "udp", InsideAddress: netip.MustParseAddr(inside), InsidePort: 4000,
			OutsideAddress: netip.MustParseAddr("203.0.113.2"), OutsidePort: 4000, Sessions: 2}
		if err := l.add(m, func(w io.Writer) { printMapping(w, m) }); err != nil {
			t.Fatal(err)
		}
	}
	for range pageLines - 1 {
		add("192.168.15.1")
	}
	add("fd00:15::1")
	add("192.168.15.1")
	if err := l.end(nil); err != nil {
		t.Fatal(err)
	}
	want := "PROTOCOL  INSIDE             OUTSIDE           SESSIONS  ENDPOINT\n" +
		strings.Repeat("udp       192.168.15.1:4000  203.0.113.2:4000  2         -\n", pageLines-1) +
		"udp       [fd00:15::1]:4000  203.0.113.2:4000  2         -\n" +
		"udp  192.168.15.1:4000  203.0.113.2:4000  2  -\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
