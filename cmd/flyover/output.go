// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// output is the flag -o of the commands that read.
type output struct{ format string }

func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text or json")
}

// print writes document as JSON, or calls text.
func (o *output) print(w io.Writer, document any, text func()) error {
	switch o.format {
	case "text":
		text()
		return nil
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(document)
	}
	return usageError{fmt.Errorf("output format %q is unknown: give text or json", o.format)}
}
