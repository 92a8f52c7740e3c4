// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"os"
	"testing"

	"flyover/test/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m))
}
