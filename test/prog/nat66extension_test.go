// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net/netip"
	"testing"

	"flyover/bpf"
)

// outwards6 is a draft of UDP from endpoint 1 to a remote.
func (d *datapath) outwards6(chain ...extensionHeader) draft {
	e := d.endpoints[1]
	p := draft{to: gatewayMAC, from: e.mac, etherType: 0x86dd, ttl: 64, src: e.addr6, dst: remoteAddr6, chain: chain}
	p.udp(21000, 53, []byte("eight..."))
	return p
}

// as is the draft with another source, one hop later.
func (d draft) as(src netip.Addr) draft {
	d.src, d.ttl = src, d.ttl-1
	d.udp(21000, 53, d.body[8:])
	return d
}

// TestNAT66Extensions: what is behind destination options is translated as far as it is looked at, and dropped beyond.
func TestNAT66Extensions(t *testing.T) {
	for _, row := range []struct {
		name  string
		chain []extensionHeader
		want  bpf.DatapathReason
	}{
		{"destination options", []extensionHeader{{60, 1}}, bpf.DatapathReasonFORWARD_OUTSIDE},
		{"hop-by-hop", []extensionHeader{{0, 1}}, bpf.DatapathReasonPASS_OPTIONS},
		{"routing header of type 0", []extensionHeader{{43, 0}}, bpf.DatapathReasonDROP_SOURCE_ROUTE},
		{"ports at offset 230", []extensionHeader{{60, 22}}, bpf.DatapathReasonFORWARD_OUTSIDE},
		{"ports at offset 238", []extensionHeader{{60, 23}}, bpf.DatapathReasonDROP_EXTENSIONS},
		{"ports at offset 310", []extensionHeader{{60, 32}}, bpf.DatapathReasonDROP_EXTENSIONS},
		{"eight headers", []extensionHeader{{60, 1}, {60, 1}, {60, 1}, {60, 1}, {60, 1}, {60, 1}, {60, 1}, {60, 1}},
			bpf.DatapathReasonFORWARD_OUTSIDE},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := load(t, options{})
			p := d.outwards6(row.chain...)
			want := expectation{reason: row.want}
			if row.want == bpf.DatapathReasonFORWARD_OUTSIDE {
				want.frame = p.as(outsideAddr6).frame()
			}
			d.expect(t, d.fromEndpoint(1, p.frame()), want)
		})
	}
}

// TestNAT66FragmentExtensions: offsets count from behind the fragment header, where a first fragment may have more extension headers
// (RFC 8200 section 4.5), out and in.
func TestNAT66FragmentExtensions(t *testing.T) {
	d := load(t, options{})
	first := d.outwards6()
	first.fragment, first.id, first.inner = moreFragments, 7, []extensionHeader{{60, 1}}
	d.expectAction(t, d.fromEndpoint(1, first.frame()), bpf.Forward)
	later := first
	later.inner, later.fragment, later.body = nil, uint16(8+len(first.body))/8, []byte("the rest")
	d.expectAction(t, d.fromEndpoint(1, later.frame()), bpf.Forward)

	first.from, first.to, first.src, first.dst = outsideMAC, d.uplinkMAC, remoteAddr6, outsideAddr6
	first.udp(53, 21000, []byte("eight..."))
	d.expectAction(t, d.fromUplink(first.frame()), bpf.Forward)
	later.from, later.to, later.src, later.dst = first.from, first.to, first.src, first.dst
	d.expectAction(t, d.fromUplink(later.frame()), bpf.Forward)
}

// expectAction compares the action alone.
func (d *datapath) expectAction(t *testing.T, in injection, want bpf.Class) {
	t.Helper()
	if got, _ := in.run(t); got != actions[want] {
		t.Errorf("%s: action %d, want %d", in.hook, got, actions[want])
	}
}
