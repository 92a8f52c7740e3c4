// SPDX-License-Identifier: Apache-2.0

package control

import (
	"flyover/control/datapath"
	"flyover/control/reconcile"
)

// numbers gives networks and endpoints their indexes in the maps: the one that an object has already, else the smallest free.
type numbers struct {
	networks, endpoints *numbering
}

type numbering struct {
	byName map[string]uint32
	taken  map[uint32]bool
	// free is where to look for a free number: none below it is.
	free uint32
}

// numbersOf starts from what is ours already.
func numbersOf(owned []reconcile.Resource) *numbers {
	n := &numbers{networks: newNumbering(), endpoints: newNumbering()}
	for _, r := range owned {
		switch r := r.(type) {
		case *datapath.Network:
			n.networks.set(r.Name, r.Number)
		case *datapath.Endpoint:
			n.endpoints.set(r.Device, r.Number)
		}
	}
	return n
}

func (n *numbers) network(name string) uint32    { return n.networks.of(name) }
func (n *numbers) endpoint(device string) uint32 { return n.endpoints.of(device) }

func newNumbering() *numbering {
	return &numbering{byName: map[string]uint32{}, taken: map[uint32]bool{}}
}

func (n *numbering) set(name string, number uint32) {
	n.byName[name], n.taken[number] = number, true
}

func (n *numbering) of(name string) uint32 {
	if number, ok := n.byName[name]; ok {
		return number
	}
	for n.taken[n.free] {
		n.free++
	}
	n.set(name, n.free)
	return n.free
}
