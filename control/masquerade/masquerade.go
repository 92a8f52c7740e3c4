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
	// Prefix is IPv4.
	Prefix netip.Prefix
}

// Table is the nftables table "flyover" of family ip, in the network namespace of the calling thread: one rule for each subnet
// and uplink. It is a reconcile.Resource.
type Table struct {
	Subnets []Subnet
	// Uplinks are the names of the interfaces that lead outside.
	Uplinks []string
}

var _ reconcile.Lingerer = Table{}

// Lingers implements reconcile.Lingerer: the table translates until what takes its place does.
func (Table) Lingers() {}

// Kind returns "masquerade".
func (Table) Kind() string { return "masquerade" }

// ID is the name of the table.
func (Table) ID() string { return tableName }

// Observe implements reconcile.Resource. A table is recognised as ours by the comments of its rules.
func (t Table) Observe(owned bool) (reconcile.Observation, error) {
	conn, err := nftables.New()
	if err != nil {
		return reconcile.Observation{}, fmt.Errorf("observe masquerade: %w", explain(err))
	}
	have, err := read(conn)
	if err != nil || have == nil {
		return reconcile.Observation{}, wrap("observe masquerade", err)
	}
	if !owned && !have.tagged() {
		detail := fmt.Sprintf("nftables table ip %s exists, not made by flyover", tableName)
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
	conn.AddTable(table()) // so that there is one to delete
	conn.DelTable(table())
	conn.AddTable(table())
	conn.AddChain(chain())
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
	have, err := read(conn)
	if err != nil || have == nil || (!have.tagged() && len(have.rules) > 0) {
		return wrap("remove masquerade", err)
	}
	conn.DelTable(table())
	if err := conn.Flush(); !errors.Is(err, unix.ENOENT) {
		return wrap("remove masquerade", err)
	}
	return nil
}

func table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
}

func chain() *nftables.Chain {
	return &nftables.Chain{
		Name:     chainName,
		Table:    table(),
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
