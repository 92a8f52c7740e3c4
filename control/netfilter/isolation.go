// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"flyover/control/reconcile"
)

// Isolation is the nftables table "flyover" of family inet, in the network namespace of the calling thread: what the stack would route
// between an isolated network and another one is dropped. It is a reconcile.Resource.
type Isolation struct {
	// Networks are the bridges of all networks, Isolated those of the isolated ones. Neither is empty.
	Networks, Isolated []string
}

var _ reconcile.Lingerer = Isolation{}

// Lingers implements reconcile.Lingerer: the table keeps apart until what takes its place does.
func (Isolation) Lingers() {}

// Kind returns "isolation".
func (Isolation) Kind() string { return "isolation" }

// ID is the name of the table with its family: "inet flyover".
func (Isolation) ID() string { return familyInet.name + " " + tableName }

// Observe implements reconcile.Resource.
func (i Isolation) Observe(_ *reconcile.Survey, owned bool) (reconcile.Observation, error) {
	return i.table().observe(owned)
}

// Apply implements reconcile.Resource.
func (i Isolation) Apply() error { return i.table().apply() }

// Remove implements reconcile.Resource.
func (i Isolation) Remove() error { return i.table().remove() }

// table has two rules for each isolated network: `iifname BRIDGE oifname != BRIDGE oifname @networks drop comment "flyover BRIDGE"`, and the
// same the other way.
func (i Isolation) table() table {
	t := table{
		task:   "isolation",
		family: familyInet,
		chain: nftables.Chain{
			Name: "forward", Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
		},
		names: i.Networks,
	}
	in, out, drop := expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME, exprs{&expr.Verdict{Kind: expr.VerdictDrop}}
	for _, bridge := range i.Isolated {
		for _, way := range [][2]expr.MetaKey{{in, out}, {out, in}} {
			t.rules = append(t.rules, ruleOf(bridge,
				isNamed(way[0], expr.CmpOpEq, bridge), isNamed(way[1], expr.CmpOpNeq, bridge), isNetwork(way[1]), drop))
		}
	}
	return t
}
