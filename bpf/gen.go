// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the compiled datapath and the Go types of its maps. The sources are datapath.c and lib/; the objects are
// committed, so that building flyover needs no clang. Datapath is compiled for IPv4 and at the hooks, Datapath6 is its twin for IPv6.
package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -output-stem datapath -type reason -type session_state -type session_flags -type held_state -type datagram_state -type network_flags -type uplink_lookups -type end_request -type hook Datapath datapath.c -- -O2 -g -Wall -Wextra -Werror -Wno-sign-compare -mcpu=v3 -DFAMILY=4 -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -output-stem datapath6 -type end_request Datapath6 datapath.c -- -O2 -g -Wall -Wextra -Werror -Wno-sign-compare -mcpu=v3 -DFAMILY=6 -I/usr/include/x86_64-linux-gnu
