// SPDX-License-Identifier: Apache-2.0

// Package prog holds the tests of the datapath's programs one by one: packets go in and come out by BPF_PROG_RUN, nothing is
// attached or pinned.
package prog
