// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"testing"

	"flyover/control/reconcile"
)

// It comes and goes. What somebody else has made, on a device that is not ours, is not taken over: it would go with ours.
func TestProxy6(t *testing.T) {
	sandbox(t)
	wantStatus(t, exampleProxy6, false, reconcile.Absent)
	must(t, exampleProxy6.Apply())
	wantStatus(t, exampleProxy6, true, reconcile.Same)
	wantStatus(t, exampleProxy6, false, reconcile.Foreign)
	must(t, exampleProxy6.Remove())
	wantStatus(t, exampleProxy6, true, reconcile.Absent)
	must(t, exampleProxy6.Remove())
}
