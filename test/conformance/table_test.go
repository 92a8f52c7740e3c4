// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	tableFile = "../../docs/conformance.md"
	// updateEnv asks for the file to be written instead of compared.
	updateEnv = "CONFORMANCE_UPDATE"
)

// preface is the file's text before its tables.
const preface = `# Conformance

What RFCs ask of a NAT and of a router of IPv4 and IPv6, and IEEE 802 of a bridge, and who does it: flyover's eBPF datapath, and the Linux kernel's own
bridge, routing and nftables masquerade with its defaults (` + "`datapath: kernel`" + `). Each row is one test, run for both in the same lab: see
` + "`test/conformance`" + `. In every row two things are checked besides: no packet with an inside address reaches the outside, and
none with a wrong checksum. Timers are tested as they are, by making sessions look older; only the neighbours'
of row 62 are asked after more often than by default, and the bridge of row 65 forgets faster. Rows 63 to 65 are about a network that has endpoints
with ` + "`source-guard: false`" + `; where there are none, all MACs are known from the configuration, and frames to others are dropped. ` + "`make conformance`" + `
makes this file.
`

// section is one table of the file.
type section struct {
	title string
	rows  []row
}

var sections = []section{
	{"Mappings, ports, filtering, timers", mappingRows},
	{"TCP", tcpRows},
	{"ICMP", icmpRows},
	{"IPv4 router", routerRows},
	{"Fragments", fragmentRows},
	{"Ethernet segment", segmentRows},
	{"Neighbour discovery", neighbourRows},
	{"IPv6 router", router6Rows},
}

// checkTable compares the committed file with the results of all rows, or writes it. It waits for a run of all rows.
func checkTable(t *testing.T) {
	t.Helper()
	if len(results.of) < len(rows)*len(datapaths) || len(results.judged) < len(trials) {
		t.Logf("not all rows have run: %s is neither compared nor written", tableFile)
		return
	}
	got := table()
	if os.Getenv(updateEnv) != "" {
		if err := os.WriteFile(tableFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	committed, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatalf("%v; make conformance makes it", err)
	}
	if diff := cmp.Diff(strings.Split(string(committed), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("docs/conformance.md is not what the rows say; make conformance makes it (-committed +now):\n%s", diff)
	}
}

// table renders the file.
func table() string {
	var b strings.Builder
	b.WriteString(preface)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n| row | requirement | source | flyover | Linux |\n|---|---|---|---|---|\n", s.title)
		for _, r := range s.rows {
			fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", r.number, r.requirement, r.source, cell(r, flyover), cell(r, linux))
		}
	}
	b.WriteString(judgement())
	b.WriteString(notes("Where flyover deviates, on purpose", flyover, func(r row) bool { return r.deviation != "" }))
	b.WriteString(notes("Where flyover fails", flyover, func(r row) bool { return r.deviation == "" }))
	b.WriteString(notes("Where Linux fails", linux, func(row) bool { return true }))
	return b.String()
}

func cell(r row, datapath string) string {
	switch {
	case len(results.of[resultName(r, datapath)].Reasons) == 0:
		return "yes"
	case datapath == flyover && r.deviation != "":
		return "deviates"
	}
	return "no"
}

// notes lists the reasons of the failures of some rows; nothing if there are none.
func notes(title, datapath string, some func(row) bool) string {
	var b strings.Builder
	for _, r := range rows {
		reasons := results.of[resultName(r, datapath)].Reasons
		if len(reasons) == 0 || !some(r) {
			continue
		}
		fmt.Fprintf(&b, "- **%d** %s", r.number, strings.Join(reasons, "; "))
		if datapath == flyover && r.deviation != "" {
			fmt.Fprintf(&b, ". %s", r.deviation)
		}
		b.WriteString("\n")
	}
	if b.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("\n## %s\n\n%s", title, b.String())
}
