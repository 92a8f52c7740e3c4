// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

// tableName is that of all our tables, each in another family.
const tableName = "flyover"

// ownerTag starts the comment of each of our rules: "flyover br1".
const ownerTag = "flyover"

// table is an nftables table that is made, compared and removed as a whole: one chain, its rules, and a set of interface names if they look
// in one.
type table struct {
	// task of the table, for messages.
	task   string
	family family
	chain  nftables.Chain // its Table is set when it is made
	rules  []*nftables.Rule
	// names are in the set setName; none: there is no set.
	names []string
}

// family is one of nftables', with its name in nft's language.
type family struct {
	number nftables.TableFamily
	name   string
}

var (
	familyIPv4 = family{nftables.TableFamilyIPv4, "ip"}
	familyIPv6 = family{nftables.TableFamilyIPv6, "ip6"}
	familyInet = family{nftables.TableFamilyINet, "inet"}
)

// ruleOf is a rule with the comment that marks it as ours.
func ruleOf(network string, exprs ...exprs) *nftables.Rule {
	return &nftables.Rule{
		Exprs:    slices.Concat(exprs...),
		UserData: userdata.AppendString(nil, userdata.TypeComment, strings.TrimSpace(ownerTag+" "+network)),
	}
}

func (t table) kernel() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: t.family.number}
}

// observe recognises a table as ours by the comments of its rules.
func (t table) observe(owned bool) (reconcile.Observation, error) {
	conn, err := dial()
	if err != nil {
		return reconcile.Observation{}, t.wrap("observe", err)
	}
	have, err := t.read(conn)
	if err != nil || have == nil {
		return reconcile.Observation{}, t.wrap("observe", err)
	}
	if !owned && !have.tagged() {
		detail := fmt.Sprintf("nftables table %s %s exists, not made by flyover", t.family.name, tableName)
		return reconcile.Observation{Status: reconcile.Foreign, Detail: detail}, nil
	}
	if detail := t.compare(have); detail != "" {
		return reconcile.Observation{Status: reconcile.Different, Detail: detail}, nil
	}
	return reconcile.Observation{Status: reconcile.Same}, nil
}

// apply makes the table. The kernel takes it in the same transaction in which an old one goes.
func (t table) apply() error {
	conn, err := dial()
	if err != nil {
		return t.wrap("create", err)
	}
	kernel := t.kernel()
	conn.AddTable(kernel) // so that there is one to delete
	conn.DelTable(kernel)
	conn.AddTable(kernel)
	if len(t.names) > 0 {
		if err := conn.AddSet(t.set(), elementsOf(t.names)); err != nil {
			return t.wrap("create", err)
		}
	}
	chain := t.chain
	chain.Table = kernel
	conn.AddChain(&chain)
	for _, rule := range t.rules {
		rule.Table, rule.Chain = kernel, &chain
		conn.AddRule(rule)
	}
	return t.wrap("create", conn.Flush())
}

// remove removes it. A table of our name without our rules stays, unless it is empty.
func (t table) remove() error {
	conn, err := dial()
	if err != nil {
		return t.wrap("remove", err)
	}
	have, err := t.read(conn)
	if err != nil || have == nil || (!have.tagged() && len(have.rules) > 0) {
		return t.wrap("remove", err)
	}
	conn.DelTable(t.kernel())
	if err := conn.Flush(); !errors.Is(err, unix.ENOENT) {
		return t.wrap("remove", err)
	}
	return nil
}

// room is for all of a transaction and its acknowledgements at once, octets: a thousand networks are about 1 MiB of rules, and what a short
// acknowledgement takes of the socket's memory is more than a rule.
const room = 16 << 20

// dial is nftables.New for as many networks as there can be.
func dial() (*nftables.Conn, error) { return nftables.New(nftables.WithSockOptions(widen)) }

// widen makes the socket take a whole transaction. Its type is that of netlink connections, which is not named here.
func widen[socket interface {
	SetReadBuffer(octets int) error
	SetWriteBuffer(octets int) error
}](s socket) error {
	return errors.Join(s.SetReadBuffer(room), s.SetWriteBuffer(room))
}

// missing are the errors of a kernel without nftables, or without its NAT: no such protocol, subsystem, chain type or expression.
var missing = []error{unix.EPROTONOSUPPORT, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOENT}

func (t table) wrap(verb string, err error) error {
	if err == nil {
		return nil
	}
	if slices.ContainsFunc(missing, func(e error) bool { return errors.Is(err, e) }) {
		err = fmt.Errorf("the kernel lacks nftables, or its NAT (CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_MASQ): %w", err)
	}
	return fmt.Errorf("%s %s: %w", verb, t.task, err)
}
