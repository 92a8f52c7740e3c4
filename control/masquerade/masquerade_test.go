// SPDX-License-Identifier: Apache-2.0

package masquerade

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"flyover/control/reconcile"
)

var example = Table{
	Subnets: []Subnet{
		{Bridge: "br1", Prefix: netip.MustParsePrefix("192.168.15.0/24")},
		{Bridge: "br2", Prefix: netip.MustParsePrefix("10.1.128.0/17")},
	},
	Uplinks: []string{"eth0", "wan.100"},
}

var example6 = Table{
	IPv6: true,
	Subnets: []Subnet{
		{Bridge: "br1", Prefix: netip.MustParsePrefix("fd00:15::/64")},
		{Bridge: "br2", Prefix: netip.MustParsePrefix("2001:db8:8000::/33")},
	},
	Uplinks: []string{"eth0", "wan.100"},
}

// eachFamily runs test in a namespace of its own with an example of each family.
func eachFamily(t *testing.T, test func(t *testing.T, example Table)) {
	for _, example := range []Table{example, example6} {
		t.Run(example.version().name, func(t *testing.T) {
			sandbox(t)
			test(t, example)
		})
	}
}

func TestLifecycle(t *testing.T) {
	eachFamily(t, func(t *testing.T, example Table) {
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

func TestFamiliesAreApart(t *testing.T) {
	sandbox(t)
	must(t, example.Apply())
	wantStatus(t, example6, false, reconcile.Absent)
	must(t, example6.Apply())
	wantStatus(t, example, true, reconcile.Same)
	must(t, example.Remove())
	wantStatus(t, example6, true, reconcile.Same)
}

// TestRuleAsNftShowsIt has nft's own words for the rules.
func TestRuleAsNftShowsIt(t *testing.T) {
	want := map[string]string{
		"ip":  `ip saddr 10.1.128.0/17 oifname "wan.100" masquerade comment "flyover br2"`,
		"ip6": `ip6 saddr 2001:db8:8000::/33 oifname "wan.100" masquerade comment "flyover br2"`,
	}
	eachFamily(t, func(t *testing.T, example Table) {
		must(t, example.Apply())
		family := example.version().name
		out, err := exec.Command("nft", "list", "table", family, tableName).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want[family]) {
			t.Errorf("%v: no %s in\n%s", err, want[family], out)
		}
	})
}

func TestRepair(t *testing.T) {
	changes := map[string]func(*nftables.Conn, Table, []*nftables.Rule){
		"rule deleted": func(c *nftables.Conn, _ Table, rules []*nftables.Rule) { _ = c.DelRule(rules[1]) },
		"rule added": func(c *nftables.Conn, example Table, _ []*nftables.Rule) {
			c.AddRule(example.rule(example.Subnets[0], "eth9"))
		},
		"rules flushed": func(c *nftables.Conn, example Table, _ []*nftables.Rule) { c.FlushTable(example.table()) },
		"rule replaced": func(c *nftables.Conn, example Table, rules []*nftables.Rule) {
			r := example.rule(example.Subnets[0], "eth1")
			r.Handle = rules[0].Handle
			c.AddRule(r)
		},
		"chain added": func(c *nftables.Conn, example Table, _ []*nftables.Rule) {
			c.AddChain(&nftables.Chain{Name: "more", Table: example.table()})
		},
		"table deleted": func(c *nftables.Conn, example Table, _ []*nftables.Rule) { c.DelTable(example.table()) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, example Table) {
				must(t, example.Apply())
				want := dump(t, example)
				conn := connect(t)
				change(conn, example, want.rules)
				must(t, conn.Flush())
				status := reconcile.Different
				if name == "table deleted" {
					status = reconcile.Absent
				}
				wantStatus(t, example, true, status)
				must(t, example.Apply())
				wantStatus(t, example, true, reconcile.Same)
				ignore := cmpopts.IgnoreFields(nftables.Rule{}, "Handle", "Position")
				if diff := cmp.Diff(want.rules, dump(t, example).rules, ignore); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestForeign(t *testing.T) {
	eachFamily(t, func(t *testing.T, example Table) {
		conn := connect(t)
		conn.AddTable(example.table())
		conn.AddChain(example.chain())
		conn.AddRule(&nftables.Rule{
			Table: example.table(), Chain: example.chain(), Exprs: []expr.Any{&expr.Masq{}}, UserData: []byte{0, 200, 'x'},
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
	sandbox(t)
	conn := connect(t)
	conn.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	conn.AddTable(&nftables.Table{Name: "flyover", Family: nftables.TableFamilyINet})
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
}

func TestJSON(t *testing.T) {
	data, err := json.Marshal(example6)
	must(t, err)
	var back Table
	must(t, json.Unmarshal(data, &back))
	if diff := cmp.Diff(example6, back, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}

func TestRefusesTheOtherFamily(t *testing.T) {
	eachFamily(t, func(t *testing.T, example Table) {
		example.IPv6 = !example.IPv6
		if err := example.Apply(); err == nil {
			t.Errorf("%v is accepted in a table of family %s", example.Subnets, example.version().name)
		}
	})
}

func connect(t *testing.T) *nftables.Conn {
	t.Helper()
	conn, err := nftables.New()
	must(t, err)
	return conn
}

func dump(t *testing.T, table Table) *found {
	t.Helper()
	f, err := table.read(connect(t))
	must(t, err)
	return f
}

func wantStatus(t *testing.T, table Table, owned bool, want reconcile.Status) {
	t.Helper()
	o, err := table.Observe(reconcile.NewSurvey(), owned)
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
