// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"flyover/test/lab"
)

// dirEnv names the run's directory. It also says to the copies of the test binary in labs that the program is in PATH already.
const dirEnv = "FLYOVER_TEST_DIR"

// MainWithProgram is Main for tests that run flyover: it is built anew and comes first in PATH of every command that they run. So are
// the programs of further packages.
func MainWithProgram(m *testing.M, further ...string) int {
	if Dir() != "" || lab.IsInit() {
		return Main(m)
	}
	dir, err := os.MkdirTemp("", "flyover-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = build(dir, append(further, "flyover/cmd/flyover"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return Main(m)
}

// Dir is a directory that all labs of a run of MainWithProgram share, and that ends with it.
func Dir() string {
	return os.Getenv(dirEnv)
}

func build(dir string, packages []string) error {
	cmd := exec.Command("go", append([]string{"build", "-buildvcs=false", "-o", dir + "/"}, packages...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", strings.Join(packages, ", "), err, out)
	}
	os.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	os.Setenv(dirEnv, dir)
	return nil
}
