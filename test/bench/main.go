// SPDX-License-Identifier: Apache-2.0

// Bench compares the datapaths side by side: it keeps one lab open per variant, measures them in interleaved rounds and
// prints medians and the median of the per-round ratios. It measures and judges nothing; see -help.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// options are the command line's.
type options struct {
	flyover string
	rounds  int
	window  time.Duration
	batch   int
	tests   []test
	verbose bool
}

// test is what one block of the table measures.
type test struct {
	name, title string
	Protocol    string // udp or tcp
	To          string // endpoint or outside
}

var tests = []test{
	{"udp", "UDP, 18 bytes, endpoint to endpoint", "udp", toEndpoint},
	{"udp-out", "UDP, 18 bytes, masqueraded to the outside", "udp", toOutside},
	{"rr", "TCP request/response, both ends on one CPU, endpoint to endpoint", "tcp", toEndpoint},
	{"rr-out", "TCP request/response, both ends on one CPU, masqueraded", "tcp", toOutside},
}

// variants in the order of a round. The last is the first once more, in a lab of its own: how far apart the two are is how
// far the noise of this machine goes.
var variants = []variant{
	{name: "ebpf", flags: []string{"--datapath", "ebpf"}},
	{name: "kernel", flags: []string{"--datapath", "kernel"}},
	{name: "direct", flags: []string{"--bare"}, insideOnly: true},
	{name: "redirect", flags: []string{"--datapath", "ebpf"}, insideOnly: true},
	{name: "ebpf again", flags: []string{"--datapath", "ebpf"}},
}

func main() {
	// This comes first: a lab's process has no flags of ours.
	if len(os.Args) == 4 && os.Args[1] == serveCommand {
		if err := serve(os.Args[2], os.Args[3], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "bench: serve %s: %v\n", os.Args[2], err)
			os.Exit(1)
		}
		return
	}
	opts, err := parse()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(2)
	}
	if err := compare(opts); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func parse() (options, error) {
	var o options
	var names string
	flag.StringVar(&o.flyover, "flyover", "bin/flyover", "the `binary` to measure")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds that count; one more runs first and is dropped")
	flag.DurationVar(&o.window, "window", time.Second, "how long one measurement sends")
	flag.IntVar(&o.batch, "batch", 32, "UDP packets per system call of the sender, 1 to 32")
	flag.StringVar(&names, "tests", "udp,udp-out,rr,rr-out", "what to measure, separated by commas")
	flag.BoolVar(&o.verbose, "v", false, "print every measurement")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || o.window < 10*time.Millisecond || o.batch < 1 || o.batch > maxBatch {
		return o, fmt.Errorf("takes no arguments, at least 1 round, a window of at least 10ms, and batches of 1 to %d", maxBatch)
	}
	for _, name := range strings.Split(names, ",") {
		i := slices.IndexFunc(tests, func(t test) bool { return t.name == name })
		if i < 0 {
			return o, fmt.Errorf("test %q is unknown: give some of udp,udp-out,rr,rr-out", name)
		}
		o.tests = append(o.tests, tests[i])
	}
	return o, nil
}

// compare opens the labs, measures and prints.
func compare(o options) error {
	var servers []*server
	for _, v := range variants {
		s, err := open(o.flyover, v)
		if err != nil {
			return fmt.Errorf("open lab for %s: %w", v.name, err)
		}
		defer s.close()
		servers = append(servers, s)
	}
	printHead(o, servers)
	for _, t := range o.tests {
		taken, err := measure(o, t, servers)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		printTest(t, taken)
	}
	return nil
}

// series are one variant's answers, one for each round that counts.
type series struct {
	variant string
	answers []answer
}

// measure takes all rounds of one test. Every other round goes backwards, so that a drift of the machine's speed falls on
// all variants alike.
func measure(o options, t test, servers []*server) ([]series, error) {
	var asked []*server
	for _, s := range servers {
		if t.To == toEndpoint || !s.insideOnly {
			asked = append(asked, s)
		}
	}
	taken := make([]series, len(asked))
	for round := range o.rounds + 1 {
		for i := range asked {
			if round%2 == 1 {
				i = len(asked) - 1 - i
			}
			a, err := asked[i].ask(question{Protocol: t.Protocol, To: t.To, Window: o.window, Batch: o.batch})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", asked[i].name, err)
			}
			if o.verbose {
				fmt.Printf("# %-8s round %2d  %-10s %9.0f/s  %9.0f per CPU s  lost %.2f %%\n",
					t.name, round, asked[i].name, a.Rate, a.Work, 100*a.Lost)
			}
			taken[i].variant = asked[i].name
			if round > 0 { // the first only warms up
				taken[i].answers = append(taken[i].answers, a)
			}
		}
	}
	return taken, nil
}
