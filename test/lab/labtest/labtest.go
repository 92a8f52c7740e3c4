// SPDX-License-Identifier: Apache-2.0

// Package labtest runs Go tests inside labs. It is apart from package lab so that programs that open labs do not link the
// testing package.
package labtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"flyover/test/lab"
)

// insideEnv holds what a test binary in a lab was started for: everything, or the name of a single test.
const (
	insideEnv  = "FLYOVER_LAB_TEST"
	everything = "*"
)

// inside is insideEnv's value in this process.
var inside = takeInside()

// takeInside keeps the variable from programs that the tests start: a test binary among them wants its own lab.
func takeInside() string {
	value := os.Getenv(insideEnv)
	if !lab.IsInit() {
		os.Unsetenv(insideEnv)
	}
	return value
}

// Main runs all tests of a binary in one lab; it is what TestMain passes to os.Exit. All flags work: the tests run in a
// copy of the binary with the same arguments. A lab needs root; without it, Main says so and returns 1.
func Main(m *testing.M) int {
	if inside != "" && !lab.IsInit() {
		return m.Run()
	}
	binary, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code, err := lab.Run(context.Background(), lab.Options{
		Command: append([]string{binary}, os.Args[1:]...),
		Env:     []string{insideEnv + "=" + everything},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

// Alone runs test in a fresh lab of its own, in a copy of the binary that runs just this test up to here. The binary's
// TestMain must call Main. Code before Alone in the same test runs in both places.
func Alone(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if inside == t.Name() {
		test(t)
		return
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	code, err := lab.Run(t.Context(), lab.Options{
		Command: []string{binary, "-test.run=" + pattern(t.Name()), "-test.count=1", "-test.v"},
		Env:     []string{insideEnv + "=" + t.Name()},
		Stdout:  &output,
		Stderr:  &output,
	})
	if err != nil || code != 0 {
		t.Fatalf("in a lab of its own: exit status %d, error %v, output:\n%s", code, err, output.String())
	}
	t.Logf("in a lab of its own:\n%s", output.String())
}

// pattern matches exactly the named test or subtest, level by level.
func pattern(name string) string {
	levels := strings.Split(name, "/")
	for i, level := range levels {
		levels[i] = "^" + regexp.QuoteMeta(level) + "$"
	}
	return strings.Join(levels, "/")
}
