// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// refusal is a file and the whole text of its refusal.
type refusal struct{ name, yaml, want string }

func checkRefused(t *testing.T, tests []refusal) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := Parse("net.yaml", []byte(tt.yaml))
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("Parse = %v, want Problems", err)
			}
			if cfg != nil {
				t.Errorf("Parse returned a configuration besides the problems")
			}
			if diff := cmp.Diff(tt.want, problems.Error()); diff != "" {
				t.Errorf("problems (-want +got):\n%s\nof:\n%s", diff, tt.yaml)
			}
		})
	}
}
