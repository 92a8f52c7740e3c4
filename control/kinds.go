// SPDX-License-Identifier: Apache-2.0

// Package control makes the host as the configuration says. It wires the features together; they do not know each other.
package control

import (
	"encoding/json"
	"fmt"

	"flyover/control/datapath"
	"flyover/control/netfilter"
	"flyover/control/reconcile"
	"flyover/control/topology"
)

// decode brings back any resource that a state file can hold.
func decode(kind string, data []byte) (reconcile.Resource, error) {
	var r reconcile.Resource
	if empty, ok := datapath.Kinds()[kind]; ok {
		r = empty()
	} else if empty, ok := netfilter.Kinds()[kind]; ok {
		r = empty()
	} else {
		return topology.Decode(kind, data)
	}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return r, nil
}
