// SPDX-License-Identifier: Apache-2.0

package masquerade

import (
	"fmt"
	"net"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// ownerTag starts the comment of each of our rules: "flyover br1".
const ownerTag = "flyover"

// rules returns the wanted rules in a fixed order.
func (t Table) rules() ([]*nftables.Rule, error) {
	var rules []*nftables.Rule
	for _, s := range t.Subnets {
		if s.Prefix.Addr().Is6() != t.IPv6 {
			return nil, fmt.Errorf("create masquerade: %s is not a subnet of family %s", s.Prefix, t.version().name)
		}
		for _, uplink := range t.Uplinks {
			rules = append(rules, t.rule(s, uplink))
		}
	}
	return rules, nil
}

// rule is `FAMILY saddr SUBNET oifname UPLINK masquerade comment "flyover BRIDGE"`.
func (t Table) rule(s Subnet, uplink string) *nftables.Rule {
	source := s.Prefix.Masked().Addr().AsSlice()
	length := uint32(len(source))
	var name [unix.IFNAMSIZ]byte
	copy(name[:], uplink)
	return &nftables.Rule{
		Table: t.table(),
		Chain: t.chain(),
		Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: t.version().source, Len: length},
			&expr.Bitwise{
				SourceRegister: 1, DestRegister: 1, Len: length,
				Mask: net.CIDRMask(s.Prefix.Bits(), s.Prefix.Addr().BitLen()), Xor: make([]byte, length),
			},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: source},
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name[:]},
			&expr.Masq{},
		},
		UserData: userdata.AppendString(nil, userdata.TypeComment, strings.TrimSpace(ownerTag+" "+s.Bridge)),
	}
}

// tagged says that a rule carries our comment. The bytes are somebody else's until this says so, and userdata.Get trusts them.
func tagged(rule *nftables.Rule) bool {
	data := rule.UserData
	return len(data) > 2 && userdata.Type(data[0]) == userdata.TypeComment && strings.HasPrefix(string(data[2:]), ownerTag)
}
