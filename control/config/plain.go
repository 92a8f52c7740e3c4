// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"

	"github.com/goccy/go-yaml/token"
)

// joinAddresses puts IPv6 addresses together again: within {} the lexer takes the first colon of one for that after a key, although
// no space follows it, so that each would need quotes.
func joinAddresses(tokens token.Tokens) token.Tokens {
	var joined token.Tokens
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		if i+2 < len(tokens) && adjacent(t, tokens[i+1]) && adjacent(tokens[i+1], tokens[i+2]) {
			if text := t.Value + tokens[i+1].Value + tokens[i+2].Value; isIPv6(text) {
				t = token.String(text, t.Origin+tokens[i+1].Origin+tokens[i+2].Origin, t.Position)
				i += 2
			}
		}
		joined.Add(t)
	}
	return joined
}

// adjacent tells whether nothing is between the tokens, not even quotes.
func adjacent(a, b *token.Token) bool {
	return a.Position.Line == b.Position.Line && a.Position.Column+len(a.Value) == b.Position.Column
}

func isIPv6(text string) bool {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		var p netip.Prefix
		p, err = netip.ParsePrefix(text)
		addr = p.Addr()
	}
	return err == nil && addr.Is6()
}
