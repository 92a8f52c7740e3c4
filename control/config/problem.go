// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one reason for which a configuration is refused.
type Problem struct {
	// File is the name that was given to Parse or Load.
	File string
	// Line and Column of the offending value, from 1; a column is a character, not a byte.
	Line, Column int
	// Message names the thing, what is wrong with it, and the remedy.
	Message string
}

// String is the problem in the form FILE:LINE:COL: message.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Problems are all reasons for which a configuration is refused, in the order of the file. It is never empty as an error.
type Problems []Problem

// Error is one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// position is a place in the file; the zero position belongs to what the file does not say.
type position struct{ line, column int }

// report collects the problems of one file.
type report struct {
	file     string
	problems Problems
}

func (r *report) add(at position, format string, args ...any) {
	r.problems = append(r.problems, Problem{
		File: r.file, Line: max(at.line, 1), Column: max(at.column, 1), Message: fmt.Sprintf(format, args...),
	})
}

// err is nil, not an empty Problems, when there was nothing to report.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.problems
}

// quoteLimit keeps a message readable when the offending value is not.
const quoteLimit = 64

func quote(s string) string {
	if len(s) > quoteLimit {
		return fmt.Sprintf("%.*q...", quoteLimit, s)
	}
	return fmt.Sprintf("%q", s)
}
