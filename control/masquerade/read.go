// SPDX-License-Identifier: Apache-2.0

package masquerade

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// found is what the kernel has under our table's name.
type found struct {
	chains []*nftables.Chain
	rules  []*nftables.Rule
}

// tagged says that we made the table.
func (f *found) tagged() bool { return slices.ContainsFunc(f.rules, tagged) }

// read returns what the kernel has, nil when there is no such table.
func (t Table) read(conn *nftables.Conn) (*found, error) {
	family := t.version().family
	tables, err := conn.ListTablesOfFamily(family)
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == tableName }) {
		return nil, nil
	}
	chains, err := conn.ListChainsOfTableFamily(family)
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	var f found
	for _, c := range chains {
		if c.Table.Name != tableName {
			continue
		}
		rules, err := conn.GetRules(t.table(), c)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("list rules of nftables chain %s: %w", c.Name, err)
		}
		f.chains = append(f.chains, c)
		f.rules = append(f.rules, rules...)
	}
	return &f, nil
}

// compare returns what differs from the wanted table, nothing when it is the same.
func (t Table) compare(have *found) string {
	want, err := t.rules()
	if err != nil {
		return err.Error()
	}
	if len(have.chains) != 1 || !t.sameChain(have.chains[0]) {
		return "chain " + chainName + " changed"
	}
	if len(have.rules) != len(want) {
		return fmt.Sprintf("rules %d -> %d", len(have.rules), len(want))
	}
	for i, rule := range want {
		if !sameRule(have.rules[i], rule) {
			return fmt.Sprintf("rule %d changed", i+1)
		}
	}
	return ""
}

func (t Table) sameChain(have *nftables.Chain) bool {
	want := t.chain()
	return have.Name == want.Name && have.Type == want.Type &&
		have.Hooknum != nil && *have.Hooknum == *want.Hooknum &&
		have.Priority != nil && *have.Priority == *want.Priority &&
		(have.Policy == nil || *have.Policy == nftables.ChainPolicyAccept)
}

func sameRule(have, want *nftables.Rule) bool {
	return bytes.Equal(have.UserData, want.UserData) &&
		slices.EqualFunc(have.Exprs, want.Exprs, func(a, b expr.Any) bool { return reflect.DeepEqual(a, b) })
}
