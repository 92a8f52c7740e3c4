// SPDX-License-Identifier: Apache-2.0

package bpf

// Object returns the compiled datapath, an ELF file, for those who need to tell one build from another.
func Object() []byte { return _DatapathBytes }
