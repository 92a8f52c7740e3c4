/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* neighbour.h - whose address is this on the network? Owns the fo_neighbours4 and fo_neighbours6 maps. */
#ifndef FLYOVER_NEIGHBOUR_H
#define FLYOVER_NEIGHBOUR_H

#include "endpoint.h"
#include "kernel.h"
#include "network.h"

struct neighbour4_key {
	__u32 network;
	__u8 addr[4];
};

struct neighbour_entry {
	__u8 mac[ETH_ALEN];
	__u8 pad[2];
	__u32 ifindex; /* of the host's end of the endpoint's pair; the gateway's: of the bridge device */
};

/* The gateway's and the endpoints' addresses: what ARP is answered for. Written by control alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENDPOINTS_MAX + NETWORKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct neighbour4_key);
	__type(value, struct neighbour_entry);
} fo_neighbours4 SEC(".maps");

struct neighbour6_key {
	__u32 network;
	__u8 addr[16];
};

/* The same for neighbour discovery; each endpoint and gateway also has its link-local address. Written by control alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * (ENDPOINTS_MAX + NETWORKS_MAX));
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct neighbour6_key);
	__type(value, struct neighbour_entry);
} fo_neighbours6 SEC(".maps");

static __always_inline struct neighbour_entry *neighbour4_lookup(__u32 network, __be32 addr)
{
	struct neighbour4_key key = { .network = network };

	addr4_store(key.addr, addr);
	return bpf_map_lookup_elem(&fo_neighbours4, &key);
}

static __always_inline struct neighbour_entry *neighbour6_lookup(__u32 network, const __u8 *addr)
{
	struct neighbour6_key key = { .network = network };

	addr6_copy(key.addr, addr);
	return bpf_map_lookup_elem(&fo_neighbours6, &key);
}

#endif
