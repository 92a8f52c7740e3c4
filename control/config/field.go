// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// field is a key that a mapping may have.
type field struct {
	key      string
	required bool
	read     func(ast.Node)
}

// mapping reads each field of n once and reports keys that are unknown, repeated or missing. The label is asked for
// after the fields were read, because it usually comes from one of them.
func (d decoder) mapping(n ast.Node, kind string, label func() string, fields []field) {
	m, ok := n.(ast.MapNode)
	if !ok {
		d.add(positionOf(n), "%s must be a mapping of keys to values, not %s", kind, typeName(n))
		return
	}
	first := make(map[string]position)
	for entries := m.MapRange(); entries.Next(); {
		d.entry(entries.KeyValue(), kind, fields, first)
	}
	for _, f := range fields {
		if _, there := first[f.key]; f.required && !there {
			d.add(positionOf(n), "%s has no %s; add \"%s:\"", label(), f.key, f.key)
		}
	}
}

func (d decoder) entry(kv *ast.MappingValueNode, kind string, fields []field, first map[string]position) {
	where := positionOf(kv.Key)
	key := kv.Key.String()
	if s, ok := kv.Key.(*ast.StringNode); ok {
		// String would keep the quotes.
		key = s.Value
	}
	if earlier, there := first[key]; there {
		d.add(where, "duplicate key %s in %s; it is already at line %d", quote(key), kind, earlier.line)
		return
	}
	first[key] = where
	for _, f := range fields {
		if f.key == key {
			f.read(kv.Value)
			return
		}
	}
	d.add(where, "unknown key %s in %s; %s", quote(key), kind, suggest(key, fields))
}

func list[T any](d decoder, n ast.Node, key string, element func(ast.Node, int) T) located[[]T] {
	where := positionOf(n)
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.add(where, "%s must be a list, not %s", key, typeName(n))
		return located[[]T]{at: where}
	}
	values := make([]T, 0, len(seq.Values))
	for i, v := range seq.Values {
		values = append(values, element(v, i))
	}
	return located[[]T]{at: where, value: values, ok: true}
}

func (d decoder) text(n ast.Node, key string) located[string] {
	where := positionOf(n)
	s, ok := n.(*ast.StringNode)
	if ok {
		return located[string]{at: where, value: s.Value, ok: true}
	}
	remedy := ""
	if scalar, is := n.(ast.ScalarNode); is && scalar.Type() != ast.NullType && scalar.Type() != ast.LiteralType {
		remedy = "; put it in quotes"
	}
	d.add(where, "%s must be a string, not %s%s", key, typeName(n), remedy)
	return located[string]{at: where}
}

func (d decoder) boolean(n ast.Node, key string) located[bool] {
	where := positionOf(n)
	b, ok := n.(*ast.BoolNode)
	if !ok {
		d.add(where, "%s must be true or false, not %s", key, typeName(n))
		return located[bool]{at: where}
	}
	return located[bool]{at: where, value: b.Value, ok: true}
}

// integer checks the bounds as well, since the parser holds a number in one of two types.
func (d decoder) integer(n ast.Node, key string, low, high int) located[int] {
	where := positionOf(n)
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		d.add(where, "%s must be an integer, not %s", key, typeName(n))
		return located[int]{at: where}
	}
	// A negative number is below every low; the parser keeps it as int64.
	if v, is := i.Value.(uint64); is && v >= uint64(low) && v <= uint64(high) {
		return located[int]{at: where, value: int(v), ok: true}
	}
	d.add(where, "%s %.*s is out of range; use %d to %d", key, quoteLimit, i.Token.Value, low, high)
	return located[int]{at: where}
}

func typeName(n ast.Node) string {
	switch n.Type() {
	case ast.NullType:
		return "empty"
	case ast.StringType:
		return "a string"
	case ast.LiteralType:
		return "a text block"
	case ast.IntegerType:
		return "an integer"
	case ast.FloatType, ast.InfinityType, ast.NanType:
		return "a number"
	case ast.BoolType:
		return "a boolean"
	case ast.SequenceType:
		return "a list"
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	default:
		return "this kind of YAML"
	}
}

// suggest is the nearest known key if one is near, otherwise all of them.
func suggest(key string, fields []field) string {
	const near = 2
	best, bestDistance := "", near+1
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.key
		if distance := editDistance(key, f.key); distance < bestDistance && distance < len(f.key) {
			best, bestDistance = f.key, distance
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known keys: " + strings.Join(known, ", ")
}

// editDistance is the number of bytes to insert, remove or replace to make b from a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
