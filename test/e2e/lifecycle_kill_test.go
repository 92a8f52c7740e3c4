// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flyover/test/lab/labtest"
)

// faultPoints are calls of up at which something goes wrong, as strace counts them: for each thread by itself, so that not every
// run comes to each. They are spread over the whole of a run, which the test checks.
func faultPoints() []string {
	var points []string
	for _, calls := range []struct {
		name              string
		first, last, step int
	}{
		{"bpf", 1, 100, 9},
		{"sendto", 1, 40, 1},
		{"mount", 1, 3, 1},
		{"unshare", 1, 1, 1},
		{"setns", 1, 1, 1},
		{"renameat", 1, 2, 1},
		{"write", 12, 12, 1},
		{"mkdirat", 2, 5, 3},
	} {
		for n := calls.first; n <= calls.last; n += calls.step {
			points = append(points, fmt.Sprintf("%s:%%s:when=%d", calls.name, n))
		}
	}
	return points
}

// upWithFault runs up while strace puts the fault in. Faults is how many were: the calls of threads are counted apart.
func upWithFault(t *testing.T, fault string) (end ended, faults int) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace")
	cmd := exec.Command("strace", "-f", "-qq", "-o", log, "-e", "trace="+strings.Split(fault, ":")[0], "-e", "inject="+fault, "flyover", "up")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	end = finish(t, cmd)
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return end, strings.Count(string(text), "INJECTED") + strings.Count(string(text), "killed by SIGKILL")
}

func TestKilledUpIsTakenDown(t *testing.T) {
	t.Parallel()
	labtest.Alone(t, func(t *testing.T) {
		before := takeDump(t)
		killed, later := 0, 0
		for _, point := range faultPoints() {
			fault := fmt.Sprintf(point, "signal=SIGKILL")
			if end, _ := upWithFault(t, fault); end.code != 0 {
				killed++
				if end.stdout != "" {
					later++
				}
			}
			flyover(t, "down")
			before = sameDump(t, "down after up was killed at "+fault, before)
		}
		t.Logf("%d of %d runs were killed, %d of them after a step", killed, len(faultPoints()), later)
		if killed < 12 || later < 3 {
			t.Errorf("%d runs were killed, %d of them after a step: too few to say anything", killed, later)
		}
	})
}

func TestKilledUpIsRunAgain(t *testing.T) {
	t.Parallel()
	labtest.Alone(t, func(t *testing.T) {
		before := takeDump(t)
		flyover(t, "up")
		want := takeTidyDump(t)
		flyover(t, "down")
		for i, point := range faultPoints() {
			if i%2 == 0 { // down, which the other half is for, has been tried at all
				continue
			}
			fault := fmt.Sprintf(point, "signal=SIGKILL")
			upWithFault(t, fault)
			if d := attempt(t, "up"); d.code != 0 {
				t.Errorf("up after up was killed at %s: exit status %d: %s", fault, d.code, d.stderr)
			}
			noDrift(t)
			if diff := cmp.Diff(want, takeTidyDump(t)); diff != "" {
				t.Errorf("up after up was killed at %s gives another host:\n%s", fault, diff)
			}
			flyover(t, "down")
		}
		sameDump(t, "down after killed runs", before)
	})
}

func TestKilledDownIsRunAgain(t *testing.T) {
	t.Parallel()
	labtest.Alone(t, func(t *testing.T) {
		before := takeDump(t)
		for _, fault := range []string{"sendto:2", "sendto:20", "sendto:50", "umount2:1", "umount2:3", "unlinkat:3", "unlinkat:20", "bpf:5", "bpf:20"} {
			flyover(t, "up")
			call, n, _ := strings.Cut(fault, ":")
			finish(t, exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call,
				"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%s", call, n), "flyover", "down"))
			flyover(t, "down")
			before = sameDump(t, "down after down was killed at "+fault, before)
		}
	})
}

func TestFailedUpIsUndone(t *testing.T) {
	t.Parallel()
	labtest.Alone(t, func(t *testing.T) {
		before := takeDump(t)
		failed, later := 0, 0
		for _, point := range faultPoints() {
			fault := fmt.Sprintf(point, "error=ENOMEM")
			end, faults := upWithFault(t, fault)
			if end.code == 0 { // of no consequence: a probe, or a dump that was asked for again
				flyover(t, "down")
				continue
			}
			failed++
			if end.stdout != "" {
				later++
			}
			// The library takes a refused type description for a kernel that knows none, which then misses it.
			named := strings.Contains(end.stderr, "cannot allocate memory") || strings.Contains(end.stderr, "missing btf func_info")
			if !strings.HasPrefix(end.stderr, "flyover: up: ") || !named {
				t.Errorf("%s: %s", fault, end.stderr)
			}
			if faults > 1 { // undoing met one, too
				flyover(t, "down")
			}
			before = sameDump(t, fmt.Sprintf("up failed at %s (%d times): %s", fault, faults, end.stderr), before)
			flyover(t, "down")
		}
		t.Logf("%d of %d runs failed, %d of them after a step", failed, len(faultPoints()), later)
		if failed < 10 || later < 3 {
			t.Errorf("%d runs failed, %d of them after a step: too few to say anything", failed, later)
		}
	})
}

// takeTidyDump is a dump of a host that is up, less what each up makes anew: numbers and random addresses.
func takeTidyDump(t *testing.T) dump {
	t.Helper()
	d := takeDump(t)
	for key := range d {
		if strings.HasSuffix(key, " link") || key == "bpffs" || key == "tcx" {
			delete(d, key)
		}
	}
	return d
}
