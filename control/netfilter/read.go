// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// found is what the kernel has under our table's name.
type found struct {
	chains []*nftables.Chain
	rules  []*nftables.Rule
	names  []string // of the set, sorted
}

// tagged says that we made the table.
func (f *found) tagged() bool { return slices.ContainsFunc(f.rules, tagged) }

// tagged says that a rule carries our comment. The bytes are somebody else's until this says so, and userdata.Get trusts them.
func tagged(rule *nftables.Rule) bool {
	data := rule.UserData
	return len(data) > 2 && userdata.Type(data[0]) == userdata.TypeComment && strings.HasPrefix(string(data[2:]), ownerTag)
}

// read returns what the kernel has, nil when there is no such table.
func (t table) read(conn *nftables.Conn) (*found, error) {
	tables, err := conn.ListTablesOfFamily(t.family.number)
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == tableName }) {
		return nil, nil
	}
	chains, err := conn.ListChainsOfTableFamily(t.family.number)
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	var f found
	for _, c := range chains {
		if c.Table.Name != tableName {
			continue
		}
		rules, err := conn.GetRules(t.kernel(), c)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("list rules of nftables chain %s: %w", c.Name, err)
		}
		f.chains = append(f.chains, c)
		f.rules = append(f.rules, rules...)
	}
	f.names, err = t.readNames(conn)
	return &f, err
}

func (t table) readNames(conn *nftables.Conn) ([]string, error) {
	if len(t.names) == 0 {
		return nil, nil
	}
	sets, err := conn.GetSets(t.kernel())
	if err != nil {
		return nil, fmt.Errorf("list nftables sets: %w", err)
	}
	at := slices.IndexFunc(sets, func(s *nftables.Set) bool { return s.Name == setName })
	if at < 0 {
		return nil, nil
	}
	elements, err := conn.GetSetElements(sets[at])
	if err != nil {
		return nil, fmt.Errorf("list nftables set %s: %w", setName, err)
	}
	var names []string
	for _, e := range elements {
		names = append(names, string(bytes.TrimRight(e.Key, "\x00")))
	}
	slices.Sort(names)
	return names, nil
}

// compare returns what differs from the wanted table, nothing when it is the same.
func (t table) compare(have *found) string {
	if len(have.chains) != 1 || !t.sameChain(have.chains[0]) {
		return "chain " + t.chain.Name + " changed"
	}
	if want := slices.Sorted(slices.Values(t.names)); !slices.Equal(have.names, want) {
		return fmt.Sprintf("set %s %v -> %v", setName, have.names, want)
	}
	if len(have.rules) != len(t.rules) {
		return fmt.Sprintf("rules %d -> %d", len(have.rules), len(t.rules))
	}
	for i, rule := range t.rules {
		if !sameRule(have.rules[i], rule) {
			return fmt.Sprintf("rule %d changed", i+1)
		}
	}
	return ""
}

func (t table) sameChain(have *nftables.Chain) bool {
	want := t.chain
	return have.Name == want.Name && have.Type == want.Type &&
		have.Hooknum != nil && *have.Hooknum == *want.Hooknum &&
		have.Priority != nil && *have.Priority == *want.Priority &&
		(have.Policy == nil || *have.Policy == nftables.ChainPolicyAccept)
}

func sameRule(have, want *nftables.Rule) bool {
	return bytes.Equal(have.UserData, want.UserData) &&
		slices.EqualFunc(have.Exprs, want.Exprs, func(a, b expr.Any) bool { return reflect.DeepEqual(a, b) })
}
