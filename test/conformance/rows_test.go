// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"flyover/test/lab/labtest"
)

// row is one requirement and its check.
type row struct {
	number      int
	requirement string // one line, as in the table
	source      string // RFC and section
	deviation   string // why flyover does not do what a SHOULD asks for; empty: it has to pass
	check       func(t *testing.T, h *host)
}

var rows = slices.Concat(mappingRows, tcpRows, icmpRows, routerRows, fragmentRows, segmentRows, neighbourRows, router6Rows)

// result is what a row's check has said of one datapath. Reasons are the same in each run: they are published.
type result struct {
	Reasons []string // of failure; none: the row passed
}

const (
	flyover = "flyover"
	linux   = "Linux"
)

var datapaths = []string{flyover, linux}

// results are those of what ran in this process's labs; the copies of the test binary in the labs have none.
var results = struct {
	sync.Mutex
	of     map[string]result  // by resultName
	judged map[string]opinion // by the name of the trial
}{of: map[string]result{}, judged: map[string]opinion{}}

// TestRows checks each row for each datapath in a lab of its own. A row may fail for the kernel; for flyover it needs a deviation.
func TestRows(t *testing.T) {
	t.Cleanup(func() { checkTable(t) })
	checkTrials(t)
	for _, r := range rows {
		t.Run(fmt.Sprintf("%02d", r.number), func(t *testing.T) {
			t.Parallel()
			for _, datapath := range datapaths {
				t.Run(datapath, func(t *testing.T) {
					t.Parallel()
					checkRow(t, r, datapath)
				})
			}
		})
	}
}

func checkRow(t *testing.T, r row, datapath string) {
	t.Helper()
	judged := false
	labtest.Alone(t, func(t *testing.T) {
		judged = true
		store(t, resultName(r, datapath), judge(t, r, datapath))
	})
	if judged {
		return // in the lab: the rest is for the process outside it
	}
	got := load[result](t, resultName(r, datapath))
	results.Lock()
	results.of[resultName(r, datapath)] = got
	results.Unlock()
	verdict(t, r, datapath, got)
}

// verdict fails the test for what has to be mended: flyover's failures and, as they would be taken for true, outdated deviations.
func verdict(t *testing.T, r row, datapath string, got result) {
	t.Helper()
	failed := strings.Join(got.Reasons, "; ")
	switch {
	case failed != "" && datapath == flyover && r.deviation == "":
		t.Errorf("row %d (%s): %s", r.number, r.requirement, failed)
	case failed != "":
		t.Logf("row %d (%s): %s", r.number, r.requirement, failed)
	case datapath == flyover && r.deviation != "":
		t.Errorf("row %d (%s) passes: its deviation is outdated", r.number, r.requirement)
	}
}

// judge runs the check. Failf ends its goroutine, so it has its own.
func judge(t *testing.T, r row, datapath string) result {
	stayOnOneCPU(t, r.number+slices.Index(datapaths, datapath))
	h := &host{t: t, ebpf: datapath == flyover, addr: addr4}
	h.part("", func() {
		r.check(t, h)
		h.always()
	})
	return result{Reasons: h.failures}
}

func resultName(r row, datapath string) string {
	return fmt.Sprintf("%02d-%s", r.number, datapath)
}

func resultFile(name string) string {
	return filepath.Join(labtest.Dir(), name+".json")
}

// store leaves a result for load: the lab's process has no other way to say more than passed or failed.
func store(t *testing.T, name string, got any) {
	t.Helper()
	data, err := json.Marshal(got)
	if err == nil {
		err = os.WriteFile(resultFile(name), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func load[T any](t *testing.T, name string) T {
	t.Helper()
	var got T
	data, err := os.ReadFile(resultFile(name))
	if err == nil {
		err = json.Unmarshal(data, &got)
	}
	if err != nil {
		t.Fatalf("%s has no result: %v", name, err)
	}
	return got
}

// part is a part of a row: if it fails, the row fails, and its other parts are checked all the same.
func (h *host) part(name string, check func()) {
	outer := h.name
	h.name = name
	defer func() { h.name = outer }()
	done := make(chan struct{})
	ended := false
	go func() {
		defer close(done)
		check()
		ended = true
	}()
	<-done
	if !ended && h.t.Failed() {
		runtime.Goexit() // the test itself could not go on
	}
}

// Failf fails the row for this datapath and ends the part at hand. What it says is published: it must be the same in each run, so
// that numbers chosen by the datapath, and packets, belong into t.Logf.
func (h *host) Failf(format string, args ...any) {
	h.t.Helper()
	reason := fmt.Sprintf(format, args...)
	if h.name != "" {
		reason = h.name + ": " + reason
	}
	if h.addr == addr6 {
		reason = "IPv6: " + reason
	}
	h.t.Logf("row fails: %s", reason)
	h.failures = append(h.failures, reason)
	runtime.Goexit()
}
