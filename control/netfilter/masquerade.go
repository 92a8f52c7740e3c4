// SPDX-License-Identifier: Apache-2.0

// Package netfilter has what networks of the kernel datapath need besides bridges and routes: the translation of what leaves them, and their
// isolation from others.
package netfilter

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"flyover/control/reconcile"
)

// Subnet is a masqueraded subnet.
type Subnet struct {
	// Bridge of the network, shown in the rule's comment.
	Bridge string
	// Prefix is of the table's family.
	Prefix netip.Prefix
}

// Masquerade is the nftables table "flyover" of family ip or ip6, in the network namespace of the calling thread: one rule for each subnet
// and uplink. It is a reconcile.Resource.
type Masquerade struct {
	// IPv6 is the family ip6.
	IPv6    bool
	Subnets []Subnet
	// Uplinks are the names of the interfaces that lead outside.
	Uplinks []string
}

var _ reconcile.Lingerer = Masquerade{}

// Lingers implements reconcile.Lingerer: the table translates until what takes its place does.
func (Masquerade) Lingers() {}

// Kind returns "masquerade".
func (Masquerade) Kind() string { return "masquerade" }

// ID is the name of the table, that of IPv6 with its family: "flyover", "ip6 flyover".
func (m Masquerade) ID() string {
	if m.IPv6 {
		return familyIPv6.name + " " + tableName
	}
	return tableName
}

// Observe implements reconcile.Resource.
func (m Masquerade) Observe(_ *reconcile.Survey, owned bool) (reconcile.Observation, error) {
	t, err := m.table()
	if err != nil {
		return reconcile.Observation{}, err
	}
	return t.observe(owned)
}

// Apply implements reconcile.Resource.
func (m Masquerade) Apply() error {
	t, err := m.table()
	if err != nil {
		return err
	}
	return t.apply()
}

// Remove implements reconcile.Resource.
func (m Masquerade) Remove() error {
	t, err := m.table()
	if err != nil {
		return err
	}
	return t.remove()
}

// table has the rules in a fixed order.
func (m Masquerade) table() (table, error) {
	t := table{
		task:   "masquerade",
		family: familyIPv4,
		chain: nftables.Chain{
			Name: "postrouting", Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
		},
	}
	if m.IPv6 {
		t.family = familyIPv6
	}
	for _, s := range m.Subnets {
		if s.Prefix.Addr().Is6() != m.IPv6 {
			return table{}, fmt.Errorf("create masquerade: %s is not a subnet of family %s", s.Prefix, t.family.name)
		}
		for _, uplink := range m.Uplinks {
			t.rules = append(t.rules, s.rule(uplink))
		}
	}
	return t, nil
}

// rule is `FAMILY saddr SUBNET oifname UPLINK masquerade comment "flyover BRIDGE"`.
func (s Subnet) rule(uplink string) *nftables.Rule {
	source := s.Prefix.Masked().Addr().AsSlice()
	length, at := uint32(len(source)), uint32(12) // of the source address in the header
	if s.Prefix.Addr().Is6() {
		at = 8
	}
	from := exprs{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: length},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: length,
			Mask: net.CIDRMask(s.Prefix.Bits(), s.Prefix.Addr().BitLen()), Xor: make([]byte, length),
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: source},
	}
	return ruleOf(s.Bridge, from, isNamed(expr.MetaKeyOIFNAME, expr.CmpOpEq, uplink), exprs{&expr.Masq{}})
}
