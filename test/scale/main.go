// SPDX-License-Identifier: Apache-2.0

// Scale shows what the translation holds and what that costs, with real packets in labs: a full table of a million sessions, a
// flood beside a neighbour, a million short connections, and the memory of connection tracking beside it; and what it takes to set up
// many endpoints. Like bench it measures and judges nothing: it prints figures, and what they should be.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options are the command line's.
type options struct {
	flyover     string
	tests       string
	inside      string // the one test that this process runs, in its lab
	sessions    int
	sample      int
	connections int
	endpoints   int
	pairs       int
	tracked     int
	flood       time.Duration
}

// test is what one lab is opened for.
type test struct {
	name, title string
	run         func(options) error
}

var tests = []test{
	{"fill", "a full table, expired and filled again: mapping endpoint-independent", func(o options) error { return fill(o, independent) }},
	{"fill-dependent", "the same: mapping endpoint-dependent", func(o options) error { return fill(o, dependent) }},
	{"conntrack", "memory of connection tracking (datapath kernel)", conntrack},
	{"flood", "a flood of new sessions beside a neighbour, default limits", flood},
	{"exhausted", "a flood to one remote, all ports of which are taken, beside a neighbour", exhausted},
	{"full", "a flood of new sessions without limits: the table is full", full},
	{"connections", "short TCP connections", connections},
	{"endpoints", "many endpoints on one network: up, talk, up again, one more, one less, status, down", manyEndpoints},
	{"endpoints-kernel", "the same with datapath kernel, 1000 at most", manyKernelEndpoints},
}

func names() string {
	var all []string
	for _, t := range tests {
		all = append(all, t.name)
	}
	return strings.Join(all, ",")
}

func main() {
	o, err := parse()
	if err != nil {
		fmt.Fprintf(os.Stderr, "scale: %v\n", err)
		os.Exit(2)
	}
	if err := runAll(o); err != nil {
		fmt.Fprintf(os.Stderr, "scale: %v\n", err)
		os.Exit(1)
	}
}

func parse() (options, error) {
	var o options
	flag.StringVar(&o.flyover, "flyover", "bin/flyover", "the `binary` to measure")
	flag.StringVar(&o.tests, "tests", names(), "what to do, separated by commas")
	flag.StringVar(&o.inside, "inside", "", "the test that runs in this lab; for the command's own use")
	flag.IntVar(&o.sessions, "sessions", 1<<20, "size of the tables that are filled")
	flag.IntVar(&o.sample, "sample", 10000, "sessions among them that are kept alive and watched")
	flag.IntVar(&o.connections, "connections", 200000, "short TCP connections in all; beside the flood at most 10000")
	flag.IntVar(&o.endpoints, "endpoints", 1000, "endpoints of the network, 10000 at most")
	flag.IntVar(&o.pairs, "pairs", 200, "random pairs of endpoints that ping and connect")
	flag.IntVar(&o.tracked, "tracked", 200000, "entries of connection tracking to measure")
	flag.DurationVar(&o.flood, "flood", 20*time.Second, "how long a flood lasts")
	flag.Parse()
	if flag.NArg() > 0 || o.sessions < 16384 || o.sample < 2 || o.sample > o.sessions/2 || o.sample > maxSample || o.connections < clients ||
		o.endpoints < 1 || o.endpoints > 10000 {
		return o, fmt.Errorf("takes no arguments, at least 16384 sessions, a sample of 2 to half of them and %d at most, %d connections, "+
			"and 1 to 10000 endpoints", maxSample, clients)
	}
	for _, name := range strings.Split(o.tests, ",") {
		if find(name) == nil {
			return o, fmt.Errorf("test %q is unknown: give some of %s", name, names())
		}
	}
	path, err := filepath.Abs(o.flyover)
	o.flyover = path
	return o, err
}

func find(name string) *test {
	i := slices.IndexFunc(tests, func(t test) bool { return t.name == name })
	if i < 0 {
		return nil
	}
	return &tests[i]
}

// runAll runs the tests one after the other, each in a lab of its own.
func runAll(o options) error {
	if o.inside != "" {
		t := find(o.inside)
		if t == nil {
			return fmt.Errorf("test %q is unknown", o.inside)
		}
		return t.run(o)
	}
	for _, name := range strings.Split(o.tests, ",") {
		t, start := find(name), time.Now()
		fmt.Printf("\n== %s: %s\n", t.name, t.title)
		if err := inLab(o, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		say("took", "%.0f s", time.Since(start).Seconds())
	}
	return nil
}

// inLab runs this program once more, as the command of a lab in which nothing is up.
func inLab(o options, name string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"lab", "run", "--bare", "--", self}, os.Args[1:]...)
	cmd := exec.Command(o.flyover, append(args, "-inside", name)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, os.Stdout, os.Stderr
	return cmd.Run()
}

// say prints one figure.
func say(what, format string, args ...any) {
	fmt.Printf("  %-46s %s\n", what, fmt.Sprintf(format, args...))
}
