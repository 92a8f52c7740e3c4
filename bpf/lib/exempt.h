/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* exempt.h - which destinations see a network's own addresses (RFC 6888 REQ-6)? Owns the fo_exempt map. */
#ifndef FLYOVER_EXEMPT_H
#define FLYOVER_EXEMPT_H

#include "family.h"
#include "kernel.h"

#define EXEMPT_MAX 16384

struct exempt_key {
	__u32 prefix_len; /* 32 more than that of the destination: the network is in front */
	__u32 network;
	ADDRESS(addr);
};

struct exempt_entry {
	__u32 network; /* the key's */
};

/* What is routed between a masqueraded network and the outside as it is, by the stack. Written by control alone. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, EXEMPT_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct exempt_key);
	__type(value, struct exempt_entry);
} fo_exempt SEC(".maps");

static __always_inline bool exempt_has(__u32 network, addr_t remote)
{
	struct exempt_key key = { .prefix_len = 32 + 8 * ADDR_LEN, .network = network };

	addr_store(key.addr, remote);
	return bpf_map_lookup_elem(&fo_exempt, &key);
}

#endif
