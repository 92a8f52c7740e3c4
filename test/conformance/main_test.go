// SPDX-License-Identifier: Apache-2.0

// Package conformance holds the datapath against what RFCs ask of a NAT and an IPv4 router, next to the Linux kernel's own
// forwarding in the same lab. Each row is one requirement; docs/conformance.md is made from the results.
package conformance

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"

	"flyover/test/lab/labtest"
)

func TestMain(m *testing.M) {
	// Rows wait more than they work, unless the command says otherwise.
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	os.Exit(labtest.MainWithProgram(m, judgePackage))
}
