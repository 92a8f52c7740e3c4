// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/bpf"
)

// TestReasons wants one row for each reason of the datapath, in its order.
func TestReasons(t *testing.T) {
	text, err := os.ReadFile("reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, counted []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z]+_[A-Z0-9_]*[A-Z0-9])` \\| .+ \\| .+ \\|$").FindAllSubmatch(text, -1) {
		documented = append(documented, string(row[1]))
	}
	for _, r := range bpf.Reasons() {
		counted = append(counted, r.String())
	}
	if diff := cmp.Diff(counted, documented); diff != "" {
		t.Errorf("docs/reasons.md (-want +got):\n%s", diff)
	}
}
