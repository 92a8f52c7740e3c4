// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"

	"flyover/control"
)

// pageLines are so many lines of text whose columns are aligned with each other: a list of any length is shown as it is read.
const pageLines = 1000

// listing writes a list of any length line by line, as text or as a JSON array that looks as output.print's.
type listing struct {
	w       *bufio.Writer
	table   *tabwriter.Writer // on w, for text
	json    bool
	header  string // before the first line of text
	nothing string // in place of an empty text
	lines   int
}

func newListing(w io.Writer, out output, header, nothing string) (*listing, error) {
	isJSON, err := out.isJSON()
	buffered := bufio.NewWriterSize(w, 1<<16)
	return &listing{w: buffered, table: newTable(buffered), json: isJSON, header: header, nothing: nothing}, err
}

func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// add writes one element: as JSON, or by calling text.
func (l *listing) add(element any, text func(io.Writer)) error {
	first := l.lines == 0
	l.lines++
	if !l.json {
		if first {
			fmt.Fprint(l.table, l.header)
		}
		text(l.table)
		if l.lines%pageLines == 0 {
			return l.table.Flush()
		}
		return nil
	}
	data, err := json.MarshalIndent(element, "  ", "  ")
	if err != nil {
		return err
	}
	between := ",\n  "
	if first {
		between = "[\n  "
	}
	_, err = fmt.Fprintf(l.w, "%s%s", between, data)
	return err
}

// end closes the list, unless err says that it broke off, and returns err or what writing met.
func (l *listing) end(err error) error {
	switch {
	case err != nil:
	case !l.json && l.lines == 0:
		fmt.Fprintln(l.w, l.nothing)
	case l.json && l.lines == 0:
		fmt.Fprintln(l.w, "[]")
	case l.json:
		fmt.Fprintln(l.w, "\n]")
	}
	return errors.Join(err, l.table.Flush(), l.w.Flush())
}

const (
	sessionHeader = "PROTOCOL\tINSIDE\tOUTSIDE\tREMOTE\tSTATE\tIDLE\tLEFT\tENDPOINT\n"
	mappingHeader = "PROTOCOL\tINSIDE\tOUTSIDE\tSESSIONS\tENDPOINT\n"
)

func printSession(w io.Writer, s control.SessionStatus) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%ds\t%ds\t%s\n", s.Protocol, netip.AddrPortFrom(s.InsideAddress, s.InsidePort),
		netip.AddrPortFrom(s.OutsideAddress, s.OutsidePort), remoteName(s.RemoteAddress, s.RemotePort), s.State,
		s.IdleSeconds, s.LeftSeconds, endpointName(s.Endpoint))
}

func printMapping(w io.Writer, m control.MappingStatus) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", m.Protocol, netip.AddrPortFrom(m.InsideAddress, m.InsidePort),
		netip.AddrPortFrom(m.OutsideAddress, m.OutsidePort), m.Sessions, endpointName(m.Endpoint))
}

// remoteName leaves out the port that the remote of an ICMP query does not have.
func remoteName(addr netip.Addr, port uint16) string {
	if port == 0 {
		return addr.String()
	}
	return netip.AddrPortFrom(addr, port).String()
}

// endpointName shows what has no namespace: sessions of the host itself.
func endpointName(namespace string) string {
	if namespace == "" {
		return "-"
	}
	return namespace
}

func printOwner(out io.Writer, o *control.OwnerStatus) {
	w := newTable(out)
	defer w.Flush()
	if len(o.Mappings) > 0 {
		fmt.Fprint(w, mappingHeader)
	}
	for _, m := range o.Mappings {
		printMapping(w, m)
	}
	w.Flush()
	if len(o.Sessions) > 0 {
		fmt.Fprint(w, sessionHeader)
	}
	for _, s := range o.Sessions {
		printSession(w, s)
	}
}

func printStats(out io.Writer, s *control.TranslationStats) {
	w := newTable(out)
	defer w.Flush()
	fmt.Fprintf(w, "sessions\t%d live\t%d entries used, of %d for each address family\n", s.Sessions.Live, s.Sessions.Entries, s.Sessions.Capacity)
	fmt.Fprintf(w, "mappings\t\t%d entries used, of %d for each address family\n", s.Mappings.Entries, s.Mappings.Capacity)
	if r := s.BusiestRemote; r != nil {
		printRemote(w, r)
	}
	fmt.Fprint(w, "\nNAMESPACE\tHOST\tADDRESS\tSESSIONS\tLIMIT\tMAPPINGS\tLIMIT\tRATE LIMIT\tBURST LIMIT\n")
	for _, e := range s.Endpoints {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\t%s\n", e.Namespace, e.HostInterface, e.Address, e.Sessions,
			limit(e.SessionsLimit, ""), e.Mappings, limit(e.MappingsLimit, ""), limit(e.RateLimit, "/s"), limit(e.BurstLimit, ""))
	}
	fmt.Fprint(w, "\nREFUSED\tPACKETS\n")
	for _, r := range s.Refusals {
		fmt.Fprintf(w, "%s\t%d\n", r.Reason, r.Packets)
	}
}

func printRemote(w io.Writer, r *control.RemoteStatus) {
	fmt.Fprintf(w, "busiest remote\t%s %s\t%d ports of %s in use",
		r.Protocol, remoteName(r.RemoteAddress, r.RemotePort), r.Ports, r.OutsideAddress)
	if r.PortsTotal > 0 {
		fmt.Fprintf(w, ", %.1f%% of %d", 100*float64(r.Ports)/float64(r.PortsTotal), r.PortsTotal)
	}
	fmt.Fprintln(w)
}

func limit(n uint32, unit string) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n) + unit
}
