// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the program from outside: commands are given in labs, and real packets sent.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"flyover/test/lab"
	"flyover/test/lab/labtest"
)

// builtEnv says to the copies of the test binary in labs that the program is in PATH already.
const builtEnv = "FLYOVER_E2E_BUILT"

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if os.Getenv(builtEnv) != "" || lab.IsInit() {
		return labtest.Main(m)
	}
	dir, err := os.MkdirTemp("", "flyover-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return labtest.Main(m)
}

// build puts the program into dir, and dir into PATH of every command that tests run.
func build(dir string) error {
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", dir+"/flyover", "../../cmd/flyover")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build flyover: %w\n%s", err, out)
	}
	os.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	os.Setenv(builtEnv, "1")
	return nil
}
