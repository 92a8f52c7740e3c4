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

// isJSON says which of the two formats it is.
func (o *output) isJSON() (bool, error) {
	switch o.format {
	case "text":
		return false, nil
	case "json":
		return true, nil
	}
	return false, usageError{fmt.Errorf("output format %q is unknown: give text or json", o.format)}
}

// print writes document as JSON, or calls text.
func (o *output) print(w io.Writer, document any, text func()) error {
	isJSON, err := o.isJSON()
	if err != nil {
		return err
	}
	if !isJSON {
		text()
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}
