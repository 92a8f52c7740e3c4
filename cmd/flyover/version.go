// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"flyover/loader"
)

// versionDocument is `version -o json`. The fields are stable.
type versionDocument struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Kernel  string `json:"kernel"`
	// Features maps what the datapath uses to "yes", "no", or the error of asking.
	Features []loader.Feature `json:"features"`
}

func newVersion() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version and the kernel features found",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			doc := versionDocument{Version: version, Go: runtime.Version(), Kernel: kernelRelease(), Features: loader.Features()}
			return out.print(cmd.OutOrStdout(), doc, func() {
				fmt.Fprintf(cmd.OutOrStdout(), "flyover %s, %s, Linux %s\n", doc.Version, doc.Go, doc.Kernel)
				for _, f := range doc.Features {
					fmt.Fprintf(cmd.OutOrStdout(), "  %-24s %-4s %s\n", f.Name, f.Found, f.Use)
				}
			})
		},
	}
	out.flags(cmd)
	return cmd
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
