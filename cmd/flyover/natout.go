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

// listing writes a list of any length line by line, as text or as a JSON array that looks as output.print's.
type listing struct {
	w       *bufio.Writer
	json    bool
	header  string // before the first line of text
	nothing string // in place of an empty text
	lines   int
}

func newListing(w io.Writer, out output, header, nothing string) (*listing, error) {
	isJSON, err := out.isJSON()
	return &listing{w: bufio.NewWriterSize(w, 1<<16), json: isJSON, header: header, nothing: nothing}, err
}

// add writes one element: as JSON, or by calling text.
func (l *listing) add(element any, text func(io.Writer)) error {
	first := l.lines == 0
	l.lines++
	if !l.json {
		if first {
			fmt.Fprint(l.w, l.header)
		}
		text(l.w)
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
	return errors.Join(err, l.w.Flush())
}

// Columns are of fixed width, since a list is not known when its first line is written: the longest address with a port is 21
// characters, the longest state 11. The namespace, whose length nothing bounds, comes last.
const (
	sessionFormat = "%-8s  %-21s  %-21s  %-21s  %-11s  %6s  %6s  %s\n"
	mappingFormat = "%-8s  %-21s  %-21s  %8v  %s\n"
)

var (
	sessionHeader = fmt.Sprintf(sessionFormat, "PROTOCOL", "INSIDE", "OUTSIDE", "REMOTE", "STATE", "IDLE", "LEFT", "ENDPOINT")
	mappingHeader = fmt.Sprintf(mappingFormat, "PROTOCOL", "INSIDE", "OUTSIDE", "SESSIONS", "ENDPOINT")
)

func printSession(w io.Writer, s control.SessionStatus) {
	fmt.Fprintf(w, sessionFormat, s.Protocol, netip.AddrPortFrom(s.InsideAddress, s.InsidePort),
		netip.AddrPortFrom(s.OutsideAddress, s.OutsidePort), remoteName(s.RemoteAddress, s.RemotePort), s.State,
		fmt.Sprintf("%ds", s.IdleSeconds), fmt.Sprintf("%ds", s.LeftSeconds), endpointName(s.Endpoint))
}

func printMapping(w io.Writer, m control.MappingStatus) {
	fmt.Fprintf(w, mappingFormat, m.Protocol, netip.AddrPortFrom(m.InsideAddress, m.InsidePort),
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

func printOwner(w io.Writer, o *control.OwnerStatus) {
	if len(o.Mappings) > 0 {
		fmt.Fprint(w, mappingHeader)
	}
	for _, m := range o.Mappings {
		printMapping(w, m)
	}
	if len(o.Sessions) > 0 {
		fmt.Fprint(w, sessionHeader)
	}
	for _, s := range o.Sessions {
		printSession(w, s)
	}
}

func printStats(out io.Writer, s *control.TranslationStats) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "sessions\t%d live\t%d of %d entries used\n", s.Sessions.Live, s.Sessions.Entries, s.Sessions.Capacity)
	fmt.Fprintf(w, "mappings\t\t%d of %d entries used\n", s.Mappings.Entries, s.Mappings.Capacity)
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
