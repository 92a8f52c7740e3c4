/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* neighbour.h - whose address is this on the network? Owns the fo_neighbours and fo_neighbours6 maps. */
#ifndef FLYOVER_NEIGHBOUR_H
#define FLYOVER_NEIGHBOUR_H

#include "endpoint.h"
#include "family.h"
#include "kernel.h"
#include "network.h"

struct neighbour_key {
	ADDRESS(addr);
	__u32 network;
	PADDING(pad, 0, 4);
};
_Static_assert(sizeof(struct neighbour_key) == ADDR_LEN + (FAMILY == 6 ? 8 : 4), "no hidden padding: the key is hashed as bytes");

struct neighbour_entry {
	__u8 mac[ETH_ALEN];
	__u8 pad[2];
	__u32 ifindex; /* of the host's end of the endpoint's pair; the gateway's: of the bridge device */
};

/*
 * The gateway's and the endpoints' addresses, of IPv6 the link-local ones too: what ARP and neighbour discovery are answered for. Written by
 * control alone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, (FAMILY == 6 ? 2 : 1) * (ENDPOINTS_MAX + NETWORKS_MAX));
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct neighbour_key);
	__type(value, struct neighbour_entry);
} fo_neighbours SEC(".maps");

static __always_inline struct neighbour_entry *neighbour_lookup(__u32 network, addr_t addr)
{
	struct neighbour_key key = { .network = network };

	addr_store(key.addr, addr);
	return bpf_map_lookup_elem(&fo_neighbours, &key);
}

/* May the endpoint say that it, or somebody behind it, has an address that is not its own? Never one that is configured as somebody else's. */
static __always_inline bool neighbour_may_be(const struct endpoint_entry *ep, addr_t addr)
{
	return ep->unguarded && addr && !neighbour_lookup(ep->network, addr);
}

#endif
