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

// offsetSource is where the source address is in an IPv4 header.
const offsetSource = 12

// rules returns the wanted rules in a fixed order.
func (t Table) rules() ([]*nftables.Rule, error) {
	var rules []*nftables.Rule
	for _, s := range t.Subnets {
		if !s.Prefix.Addr().Is4() {
			return nil, fmt.Errorf("create masquerade: %s is not an IPv4 subnet", s.Prefix)
		}
		for _, uplink := range t.Uplinks {
			rules = append(rules, rule(s, uplink))
		}
	}
	return rules, nil
}

// rule is `ip saddr SUBNET oifname UPLINK masquerade comment "flyover BRIDGE"`.
func rule(s Subnet, uplink string) *nftables.Rule {
	source := s.Prefix.Masked().Addr().As4()
	var name [unix.IFNAMSIZ]byte
	copy(name[:], uplink)
	return &nftables.Rule{
		Table: table(),
		Chain: chain(),
		Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offsetSource, Len: 4},
			&expr.Bitwise{
				SourceRegister: 1, DestRegister: 1, Len: 4,
				Mask: net.CIDRMask(s.Prefix.Bits(), 32), Xor: make([]byte, 4),
			},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: source[:]},
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
