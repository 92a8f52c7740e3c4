// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the program from outside: commands are given in labs, and real packets sent.
package e2e

import (
	"os"
	"testing"

	"flyover/test/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.MainWithProgram(m))
}
