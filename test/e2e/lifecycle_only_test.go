// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"flyover/test/lab/labtest"
)

// What the configuration has not changed is taken for what it was, and that is said.
func TestOnlyChanges(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		flyover(t, "up", "-f", configFile(t, tutorial))
		sh(t, "bridge link set dev veth-ns2-br learning on")
		said := flyover(t, "up", "--only-changes", "-f", configFile(t, tutorial+thirdEndpoint))
		if !strings.Contains(said, "create veth veth-ns3-br\n") || strings.Contains(said, "veth-ns2-br") ||
			!strings.Contains(said, "not looked at: ") {
			t.Errorf("with one more endpoint:\n%s", said)
		}
		sh(t, "ip netns exec ns3 ping -q -c1 -W5 192.168.15.1 && ip netns exec ns1 ping -q -c1 -W5 192.168.15.3")
		if s := status(t); len(s.Drift) != 1 || s.Drift[0].Object != "veth veth-ns2-br" {
			t.Errorf("drift is %+v, want the one that was left alone", s.Drift)
		}
		// What goes may take others along, so that a run which removes looks at everything.
		said = flyover(t, "up", "--only-changes", "-f", configFile(t, tutorial))
		if !strings.Contains(said, "remove veth veth-ns3-br\n") || !strings.Contains(said, "update veth veth-ns2-br") {
			t.Errorf("with one less:\n%s", said)
		}
		noDrift(t)
	})
}

// A run that did not come to its end has left a list of more than there is: the next one looks at everything.
func TestOnlyChangesAfterACrash(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		flyover(t, "up", "-f", configFile(t, tutorial))
		sh(t, `sed -i 's/"Version":1,/"Version":1,"Unsettled":true,/' /run/flyover/state.json && bridge link set dev veth-ns2-br learning on`)
		said := flyover(t, "up", "--only-changes", "-f", configFile(t, tutorial))
		if !strings.HasPrefix(said, "update veth veth-ns2-br") || strings.Contains(said, "not looked at") {
			t.Errorf("after a crash:\n%s", said)
		}
		noDrift(t)
		said = flyover(t, "up", "--only-changes", "-f", configFile(t, tutorial))
		if !strings.HasPrefix(said, "not looked at: ") {
			t.Errorf("without a change:\n%s", said)
		}
	})
}
