// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"flyover/control/reconcile"
)

var examples = map[string]reconcile.Resource{
	"masquerade IPv4": Masquerade{
		Subnets: []Subnet{
			{Bridge: "br1", Prefix: netip.MustParsePrefix("192.168.15.0/24")},
			{Bridge: "br2", Prefix: netip.MustParsePrefix("10.1.128.0/17")},
		},
		Uplinks: []string{"eth0", "wan.100"},
	},
	"masquerade IPv6": Masquerade{
		IPv6: true,
		Subnets: []Subnet{
			{Bridge: "br1", Prefix: netip.MustParsePrefix("fd00:15::/64")},
			{Bridge: "br2", Prefix: netip.MustParsePrefix("2001:db8:8000::/33")},
		},
		Uplinks: []string{"eth0", "wan.100"},
	},
	"isolation": Isolation{Networks: []string{"br2", "br1", "net.3"}, Isolated: []string{"br1", "net.3"}},
}

// eachTable runs test in a namespace of its own with an example of each.
func eachTable(t *testing.T, test func(t *testing.T, example reconcile.Resource)) {
	for name, example := range examples {
		t.Run(name, func(t *testing.T) {
			sandbox(t)
			test(t, example)
		})
	}
}

// tableOf is the table that the resource stands for.
func tableOf(t *testing.T, r reconcile.Resource) table {
	t.Helper()
	switch r := r.(type) {
	case Masquerade:
		table, err := r.table()
		must(t, err)
		return table
	case Isolation:
		return r.table()
	}
	t.Fatalf("%T has no table", r)
	return table{}
}

func TestLifecycle(t *testing.T) {
	eachTable(t, func(t *testing.T, example reconcile.Resource) {
		wantStatus(t, example, false, reconcile.Absent)
		must(t, example.Apply())
		wantStatus(t, example, true, reconcile.Same)
		wantStatus(t, example, false, reconcile.Same) // the state file is lost: the comments say that it is ours
		must(t, example.Apply())
		wantStatus(t, example, true, reconcile.Same)
		must(t, example.Remove())
		must(t, example.Remove())
		if have := dump(t, example); have != nil {
			t.Errorf("left behind: %+v", have)
		}
	})
}

func TestTablesAreApart(t *testing.T) {
	sandbox(t)
	for _, example := range examples {
		wantStatus(t, example, false, reconcile.Absent)
		must(t, example.Apply())
	}
	removed := examples["masquerade IPv4"]
	must(t, removed.Remove())
	for _, example := range examples {
		want := reconcile.Same
		if example.ID() == removed.ID() {
			want = reconcile.Absent
		}
		wantStatus(t, example, true, want)
	}
}

// TestRuleAsNftShowsIt has nft's own words for the rules.
func TestRuleAsNftShowsIt(t *testing.T) {
	want := map[string]string{
		"masquerade IPv4": `ip saddr 10.1.128.0/17 oifname "wan.100" masquerade comment "flyover br2"`,
		"masquerade IPv6": `ip6 saddr 2001:db8:8000::/33 oifname "wan.100" masquerade comment "flyover br2"`,
		"isolation": `		iifname "br1" oifname != "br1" oifname @networks drop comment "flyover br1"
		oifname "br1" iifname != "br1" iifname @networks drop comment "flyover br1"
		iifname "net.3" oifname != "net.3" oifname @networks drop comment "flyover net.3"
		oifname "net.3" iifname != "net.3" iifname @networks drop comment "flyover net.3"
`,
	}
	for name, example := range examples {
		t.Run(name, func(t *testing.T) {
			sandbox(t)
			must(t, example.Apply())
			out, err := exec.Command("nft", "list", "table", tableOf(t, example).family.name, tableName).CombinedOutput()
			if err != nil || !strings.Contains(string(out), want[name]) {
				t.Errorf("%v: no %s in\n%s", err, want[name], out)
			}
			for _, network := range tableOf(t, example).names {
				if elements := regexp.MustCompile(`elements = \{[^}]*\}`).Find(out); !strings.Contains(string(elements), `"`+network+`"`) {
					t.Errorf("no %q among %s", network, elements)
				}
			}
		})
	}
}

func TestRepair(t *testing.T) {
	changes := map[string]func(*nftables.Conn, table, *found){
		"rule deleted": func(c *nftables.Conn, _ table, have *found) { _ = c.DelRule(have.rules[1]) },
		"rule added": func(c *nftables.Conn, _ table, have *found) {
			c.AddRule(&nftables.Rule{Table: have.rules[0].Table, Chain: have.rules[0].Chain, UserData: have.rules[0].UserData,
				Exprs: isNamed(expr.MetaKeyOIFNAME, expr.CmpOpEq, "eth9")})
		},
		"rules flushed": func(c *nftables.Conn, example table, _ *found) { c.FlushTable(example.kernel()) },
		"rule replaced": func(c *nftables.Conn, _ table, have *found) {
			r := *have.rules[0]
			r.Exprs = isNamed(expr.MetaKeyOIFNAME, expr.CmpOpEq, "eth1")
			c.AddRule(&r)
		},
		"chain added": func(c *nftables.Conn, example table, _ *found) {
			c.AddChain(&nftables.Chain{Name: "more", Table: example.kernel()})
		},
		"name added": func(c *nftables.Conn, example table, _ *found) {
			if len(example.names) == 0 {
				c.DelTable(example.kernel())
				return
			}
			_ = c.SetAddElements(example.set(), elementsOf([]string{"br9"}))
		},
		"table deleted": func(c *nftables.Conn, example table, _ *found) { c.DelTable(example.kernel()) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			eachTable(t, func(t *testing.T, example reconcile.Resource) {
				must(t, example.Apply())
				want := dump(t, example)
				conn := connect(t)
				change(conn, tableOf(t, example), want)
				must(t, conn.Flush())
				status := reconcile.Different
				if dump(t, example) == nil {
					status = reconcile.Absent
				}
				wantStatus(t, example, true, status)
				must(t, example.Apply())
				wantStatus(t, example, true, reconcile.Same)
				ignore := cmpopts.IgnoreFields(nftables.Rule{}, "Handle", "Position")
				have := dump(t, example)
				if diff := cmp.Diff(want.rules, have.rules, ignore) + cmp.Diff(want.names, have.names); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestForeign(t *testing.T) {
	eachTable(t, func(t *testing.T, example reconcile.Resource) {
		conn, table := connect(t), tableOf(t, example)
		chain := table.chain
		chain.Table = conn.AddTable(table.kernel())
		conn.AddChain(&chain)
		conn.AddRule(&nftables.Rule{
			Table: chain.Table, Chain: &chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}, UserData: []byte{0, 200, 'x'},
		})
		must(t, conn.Flush())
		before := dump(t, example)
		wantStatus(t, example, false, reconcile.Foreign)
		must(t, example.Remove())
		if diff := cmp.Diff(before.rules, dump(t, example).rules); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOtherTablesStay(t *testing.T) {
	eachTable(t, func(t *testing.T, example reconcile.Resource) {
		conn := connect(t)
		for _, f := range []family{familyIPv4, familyIPv6, familyInet} {
			name := tableName
			if f == tableOf(t, example).family {
				name = "nat"
			}
			conn.AddTable(&nftables.Table{Name: name, Family: f.number})
		}
		must(t, conn.Flush())
		before, err := conn.ListTables()
		must(t, err)
		must(t, example.Apply())
		must(t, example.Remove())
		after, err := conn.ListTables()
		must(t, err)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Error(diff)
		}
	})
}

// TestManyNetworks has as many as there can be, all isolated.
func TestManyNetworks(t *testing.T) {
	sandbox(t)
	var many Isolation
	for i := range 1024 {
		many.Networks = append(many.Networks, fmt.Sprintf("network-%d", i))
	}
	many.Isolated = many.Networks
	for range 2 {
		must(t, many.Apply())
		wantStatus(t, many, true, reconcile.Same)
	}
	must(t, many.Remove())
	wantStatus(t, many, true, reconcile.Absent)
}

func TestJSON(t *testing.T) {
	for name, example := range examples {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(example)
			must(t, err)
			back := reflect.New(reflect.TypeOf(example))
			must(t, json.Unmarshal(data, back.Interface()))
			if diff := cmp.Diff(example, back.Elem().Interface(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusesTheOtherFamily(t *testing.T) {
	for _, name := range []string{"masquerade IPv4", "masquerade IPv6"} {
		sandbox(t)
		m := examples[name].(Masquerade)
		m.IPv6 = !m.IPv6
		if err := m.Apply(); err == nil {
			t.Errorf("%v is accepted in %s", m.Subnets, m.ID())
		}
	}
}

func connect(t *testing.T) *nftables.Conn {
	t.Helper()
	conn, err := nftables.New()
	must(t, err)
	return conn
}

func dump(t *testing.T, r reconcile.Resource) *found {
	t.Helper()
	f, err := tableOf(t, r).read(connect(t))
	must(t, err)
	return f
}

func wantStatus(t *testing.T, r reconcile.Resource, owned bool, want reconcile.Status) {
	t.Helper()
	o, err := r.Observe(reconcile.NewSurvey(), owned)
	must(t, err)
	if o.Status != want {
		t.Fatalf("observe: %v (%s), want %v", o.Status, o.Detail, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
