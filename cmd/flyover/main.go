// SPDX-License-Identifier: Apache-2.0

// Flyover gives a Linux host its container network, forwarded in TC eBPF. See README.md.
package main

import "os"

// version of this build; the Makefile sets it.
var version = "devel"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
