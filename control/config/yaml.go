// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The parser's cost grows with the square of these; a valid file nests five deep and has seven keys in a mapping.
const (
	maxDepth = 64
	maxKeys  = 64
)

// readYAML is the content of the file's only document, or nil after it reported why there is none.
func readYAML(r *report, data []byte) (root ast.Node) {
	// The parser belongs to someone else: whatever it does with hostile text, the caller gets a problem and no panic.
	defer func() {
		if recover() != nil {
			root = nil
			r.add(position{}, "the file cannot be read as YAML")
		}
	}()
	if !checkText(r, data) {
		return nil
	}
	tokens := joinAddresses(lexer.Tokenize(string(bytes.TrimPrefix(data, []byte("\ufeff")))))
	if !checkTokens(r, tokens) {
		return nil
	}
	// Duplicate keys are reported by the decoder, together with all other problems.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		reportSyntax(r, err)
		return nil
	}
	return onlyDocument(r, file)
}

func checkText(r *report, data []byte) bool {
	if len(data) > MaxFileSize {
		r.add(position{}, "the file is larger than %d bytes", MaxFileSize)
		return false
	}
	at := position{line: 1, column: 1}
	for len(data) > 0 {
		char, size := utf8.DecodeRune(data)
		switch {
		case char == utf8.RuneError && size == 1:
			r.add(at, "the text is not UTF-8: byte 0x%02x", data[0])
			return false
		case char < ' ' && char != '\n' && char != '\r' && char != '\t':
			r.add(at, "control character %U is not allowed in YAML", char)
			return false
		case char == '\n':
			at = position{line: at.line + 1}
		}
		at.column++
		data = data[size:]
	}
	return true
}

// refusedTokens are the parts of YAML that a network configuration has no use for.
var refusedTokens = map[token.Type]string{
	token.AnchorType:     "anchors (&) are not supported; write the value out where it is needed",
	token.AliasType:      "aliases (*) are not supported; write the value out where it is needed",
	token.MergeKeyType:   "merge keys (<<) are not supported; write the keys out where they are needed",
	token.TagType:        "tags (!) are not supported; remove the tag",
	token.DirectiveType:  "directives (%) are not supported; remove the line",
	token.MappingKeyType: "explicit keys (?) are not supported; write \"key: value\"",
}

// checkTokens refuses what the parser must not see.
func checkTokens(r *report, tokens token.Tokens) bool {
	ok := true
	var n nesting
	for _, t := range tokens {
		if text, refused := refusedTokens[t.Type]; refused {
			r.add(tokenPosition(t), "%s", text)
			ok = false
		}
		n.count(t)
		switch {
		case n.keys > maxKeys:
			r.add(tokenPosition(t), "more than %d keys in one mapping", maxKeys)
			return false
		case n.brackets > maxDepth || n.dashes > maxDepth || tooDeeplyIndented(t):
			r.add(tokenPosition(t), "nested more than %d levels deep", maxDepth)
			return false
		}
	}
	return ok
}

// nesting is an upper bound of the work that the tokens so far make for the parser.
type nesting struct {
	// brackets that are open.
	brackets int
	// dashes on the line, each of which opens a list.
	dashes, line int
	// keys since a list's element or a bracket began.
	keys int
}

func (n *nesting) count(t *token.Token) {
	if t.Position.Line != n.line {
		n.dashes, n.line = 0, t.Position.Line
	}
	switch t.Type {
	case token.SequenceStartType:
		n.brackets++
	case token.MappingStartType:
		n.brackets++
		n.keys = 0
	case token.SequenceEndType, token.MappingEndType:
		n.brackets--
	case token.SequenceEntryType:
		n.dashes++
		n.keys = 0
	case token.MappingValueType:
		n.keys++
	}
}

// tooDeeplyIndented bounds block style, where each level costs a column; the bound is far from any file's real indent.
func tooDeeplyIndented(t *token.Token) bool {
	const columnsPerLevel = 16
	opensLine := t.Prev == nil || t.Prev.Position.Line != t.Position.Line
	return opensLine && t.Position.Column > maxDepth*columnsPerLevel
}

func reportSyntax(r *report, err error) {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		r.add(tokenPosition(syntax.Token), "YAML syntax: %s", syntax.Message)
		return
	}
	r.add(position{}, "YAML syntax: %v", err)
}

func onlyDocument(r *report, file *ast.File) ast.Node {
	if len(file.Docs) > 1 {
		second := file.Docs[1]
		where := position{}
		if second.Start != nil {
			where = tokenPosition(second.Start)
		} else if second.Body != nil {
			where = positionOf(second.Body)
		}
		r.add(where, "a second YAML document starts here; a configuration is one document")
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.NullType {
		r.add(position{}, "the configuration is empty; it needs at least \"networks:\" with one network")
		return nil
	}
	return file.Docs[0].Body
}

func tokenPosition(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{}
	}
	return position{line: t.Position.Line, column: t.Position.Column}
}

// positionOf is where n begins; the parser itself places a block mapping at its first colon.
func positionOf(n ast.Node) position {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return positionOf(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return positionOf(n.Key)
	}
	return tokenPosition(n.GetToken())
}
