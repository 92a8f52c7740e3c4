// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// setName is the set of a table's interface names.
const setName = "networks"

// set has the byte order in which nft shows names.
func (t table) set() *nftables.Set {
	return &nftables.Set{Table: t.kernel(), Name: setName, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}
}

func elementsOf(names []string) []nftables.SetElement {
	var elements []nftables.SetElement
	for _, name := range names {
		elements = append(elements, nftables.SetElement{Key: nameBytes(name)})
	}
	return elements
}

// nameBytes is an interface name as nftables compares it.
func nameBytes(name string) []byte {
	var b [unix.IFNAMSIZ]byte
	copy(b[:], name)
	return b[:]
}

// exprs are the expressions of a rule, or some of them.
type exprs []expr.Any

// isNamed is `iifname NAME`, `oifname != NAME` and their kind.
func isNamed(which expr.MetaKey, op expr.CmpOp, name string) exprs {
	return exprs{
		&expr.Meta{Key: which, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: nameBytes(name)},
	}
}

// isNetwork is `iifname @networks`, or of oifname.
func isNetwork(which expr.MetaKey) exprs {
	return exprs{
		&expr.Meta{Key: which, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: setName},
	}
}
