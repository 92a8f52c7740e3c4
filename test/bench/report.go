// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
)

// printHead says what is compared.
func printHead(o options, servers []*server) {
	fmt.Printf("%d rounds of %v per variant, interleaved, one more dropped as warm-up; medians, ratios with their range\n",
		o.rounds, o.window)
	for _, s := range servers {
		fmt.Printf("  %-10s  %s\n", s.name, s.note)
	}
}

// printTest prints the table of one test: each variant's median, and how ebpf compares with it round by round.
func printTest(t test, taken []series) {
	unit := "packets"
	if t.Protocol == "tcp" {
		unit = "trips"
	}
	fmt.Printf("\n%s\n", t.title)
	row("", unit+"/s", "ebpf / this", unit+"/CPU s", "ebpf / this", "lost")
	for _, s := range taken {
		perSecond, perWork := "", ""
		if s.variant != "ebpf" {
			perSecond, perWork = compareRounds(taken[0], s, rate), compareRounds(taken[0], s, work)
		}
		lost := fmt.Sprintf("%.1f %%", median(values(s, func(a answer) float64 { return 100 * a.Lost })))
		row(s.variant, thousands(median(values(s, rate))), perSecond, thousands(median(values(s, work))), perWork, lost)
	}
	for _, s := range taken[:2] {
		fmt.Printf("  path of %s: %s\n", s.variant, s.answers[len(s.answers)-1].Path)
	}
}

func row(cells ...any) { fmt.Printf("  %-10s %13s  %-17s %13s  %-17s %6s\n", cells...) }

// compareRounds is the median of the ratios, a round at a time, and their range: what slows the machine for a while slows
// both sides of a ratio.
func compareRounds(a, b series, of func(answer) float64) string {
	ratios := values(a, of)
	for i, r := range values(b, of) {
		ratios[i] /= r
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios))
}

func rate(a answer) float64 { return a.Rate }

func work(a answer) float64 { return a.Work }

func values(s series, of func(answer) float64) []float64 {
	var all []float64
	for _, a := range s.answers {
		all = append(all, of(a))
	}
	return all
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// thousands writes a rate readably: 123,456.
func thousands(rate float64) string {
	digits := strconv.FormatInt(int64(rate), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
