// SPDX-License-Identifier: Apache-2.0

// Package masquerade translates the source of what leaves networks of the kernel datapath, with one nftables table.
package masquerade

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"flyover/control/reconcile"
)

const (
	tableName = "flyover"
	chainName = "postrouting"
)

// Subnet is a masqueraded subnet.
type Subnet struct {
	// Bridge of the network, shown in the rule's comment.
	Bridge string
	// Prefix is of the table's family.
	Prefix netip.Prefix
}

// Table is the nftables table "flyover" of family ip or ip6, in the network namespace of the calling thread: one rule for each subnet
// and uplink. It is a reconcile.Resource.
type Table struct {
	// IPv6 is the family ip6.
	IPv6    bool
	Subnets []Subnet
	// Uplinks are the names of the interfaces that lead outside.
	Uplinks []string
}

var _ reconcile.Lingerer = Table{}

// Lingers implements reconcile.Lingerer: the table translates until what takes its place does.
func (Table) Lingers() {}

// Kind returns "masquerade".
func (Table) Kind() string { return "masquerade" }

// ID is the name of the table, that of IPv6 with its family: "flyover", "ip6 flyover".
func (t Table) ID() string {
	if t.IPv6 {
		return "ip6 " + tableName
	}
	return tableName
}

// Observe implements reconcile.Resource. A table is recognised as ours by the comments of its rules.
func (t Table) Observe(_ *reconcile.Survey, owned bool) (reconcile.Observation, error) {
	conn, err := nftables.New()
	if err != nil {
		return reconcile.Observation{}, fmt.Errorf("observe masquerade: %w", explain(err))
	}
	have, err := t.read(conn)
	if err != nil || have == nil {
		return reconcile.Observation{}, wrap("observe masquerade", err)
	}
	if !owned && !have.tagged() {
		detail := fmt.Sprintf("nftables table %s %s exists, not made by flyover", t.version().name, tableName)
		return reconcile.Observation{Status: reconcile.Foreign, Detail: detail}, nil
	}
	if detail := t.compare(have); detail != "" {
		return reconcile.Observation{Status: reconcile.Different, Detail: detail}, nil
	}
	return reconcile.Observation{Status: reconcile.Same}, nil
}

// Apply implements reconcile.Resource. The kernel takes the new table in the same transaction in which the old one goes.
func (t Table) Apply() error {
	rules, err := t.rules()
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return wrap("create masquerade", err)
	}
	conn.AddTable(t.table()) // so that there is one to delete
	conn.DelTable(t.table())
	conn.AddTable(t.table())
	conn.AddChain(t.chain())
	for _, rule := range rules {
		conn.AddRule(rule)
	}
	return wrap("create masquerade", conn.Flush())
}

// Remove implements reconcile.Resource. A table of our name without our rules stays, unless it is empty.
func (t Table) Remove() error {
	conn, err := nftables.New()
	if err != nil {
		return wrap("remove masquerade", err)
	}
	have, err := t.read(conn)
	if err != nil || have == nil || (!have.tagged() && len(have.rules) > 0) {
		return wrap("remove masquerade", err)
	}
	conn.DelTable(t.table())
	if err := conn.Flush(); !errors.Is(err, unix.ENOENT) {
		return wrap("remove masquerade", err)
	}
	return nil
}

// version is what differs between the versions of IP.
type version struct {
	family nftables.TableFamily
	// name of the family in nft's language.
	name string
	// source is where the source address is in the header.
	source uint32
}

func (t Table) version() version {
	if t.IPv6 {
		return version{family: nftables.TableFamilyIPv6, name: "ip6", source: 8}
	}
	return version{family: nftables.TableFamilyIPv4, name: "ip", source: 12}
}

func (t Table) table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: t.version().family}
}

func (t Table) chain() *nftables.Chain {
	return &nftables.Chain{
		Name:     chainName,
		Table:    t.table(),
		Type:     nftables.ChainTypeNAT,
		Hooknum:  nftables.ChainHookPostrouting,
		Priority: nftables.ChainPriorityNATSource,
	}
}

// missing are the errors of a kernel without nftables, or without its NAT: no such protocol, subsystem, chain type or expression.
var missing = []error{unix.EPROTONOSUPPORT, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOENT}

func wrap(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, explain(err))
}

func explain(err error) error {
	if slices.ContainsFunc(missing, func(e error) bool { return errors.Is(err, e) }) {
		return fmt.Errorf("the kernel lacks nftables with NAT (CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_MASQ): %w", err)
	}
	return err
}
