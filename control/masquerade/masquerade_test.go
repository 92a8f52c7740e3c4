// SPDX-License-Identifier: Apache-2.0

package masquerade

import (
	"encoding/json"
	"net/netip"
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

func TestLifecycle(t *testing.T) {
	sandbox(t)
	wantStatus(t, example, false, reconcile.Absent)
	must(t, example.Apply())
	wantStatus(t, example, true, reconcile.Same)
	wantStatus(t, example, false, reconcile.Same) // the state file is lost: the comments say that it is ours
	must(t, example.Apply())
	wantStatus(t, example, true, reconcile.Same)
	must(t, example.Remove())
	must(t, example.Remove())
	if have := dump(t); have != nil {
		t.Errorf("left behind: %+v", have)
	}
}

func TestRepair(t *testing.T) {
	changes := map[string]func(*nftables.Conn, []*nftables.Rule){
		"rule deleted": func(c *nftables.Conn, rules []*nftables.Rule) { _ = c.DelRule(rules[1]) },
		"rule added": func(c *nftables.Conn, _ []*nftables.Rule) {
			c.AddRule(rule(Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, "eth9"))
		},
		"rules flushed": func(c *nftables.Conn, _ []*nftables.Rule) { c.FlushTable(table()) },
		"rule replaced": func(c *nftables.Conn, rules []*nftables.Rule) {
			r := rule(example.Subnets[0], "eth1")
			r.Handle = rules[0].Handle
			c.AddRule(r)
		},
		"chain added": func(c *nftables.Conn, _ []*nftables.Rule) {
			c.AddChain(&nftables.Chain{Name: "more", Table: table()})
		},
		"table deleted": func(c *nftables.Conn, _ []*nftables.Rule) { c.DelTable(table()) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			sandbox(t)
			must(t, example.Apply())
			want := dump(t)
			conn := connect(t)
			change(conn, want.rules)
			must(t, conn.Flush())
			status := reconcile.Different
			if name == "table deleted" {
				status = reconcile.Absent
			}
			wantStatus(t, example, true, status)
			must(t, example.Apply())
			wantStatus(t, example, true, reconcile.Same)
			ignore := cmpopts.IgnoreFields(nftables.Rule{}, "Handle", "Position")
			if diff := cmp.Diff(want.rules, dump(t).rules, ignore); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestForeign(t *testing.T) {
	sandbox(t)
	conn := connect(t)
	conn.AddTable(table())
	conn.AddChain(chain())
	conn.AddRule(&nftables.Rule{Table: table(), Chain: chain(), Exprs: []expr.Any{&expr.Masq{}}, UserData: []byte{0, 200, 'x'}})
	must(t, conn.Flush())
	before := dump(t)
	wantStatus(t, example, false, reconcile.Foreign)
	must(t, example.Remove())
	if diff := cmp.Diff(before.rules, dump(t).rules); diff != "" {
		t.Error(diff)
	}
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
	data, err := json.Marshal(example)
	must(t, err)
	var back Table
	must(t, json.Unmarshal(data, &back))
	if diff := cmp.Diff(example, back, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}

func TestRefusesIPv6(t *testing.T) {
	sandbox(t)
	v6 := Table{Subnets: []Subnet{{Prefix: netip.MustParsePrefix("fd00::/64")}}, Uplinks: []string{"eth0"}}
	if err := v6.Apply(); err == nil {
		t.Error("an IPv6 subnet is accepted in a table of family ip")
	}
}

func connect(t *testing.T) *nftables.Conn {
	t.Helper()
	conn, err := nftables.New()
	must(t, err)
	return conn
}

func dump(t *testing.T) *found {
	t.Helper()
	f, err := read(connect(t))
	must(t, err)
	return f
}

func wantStatus(t *testing.T, table Table, owned bool, want reconcile.Status) {
	t.Helper()
	o, err := table.Observe(owned)
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
