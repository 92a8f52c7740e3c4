/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* uplink.h - which interfaces lead outside, and what is inside? Owns the fo_uplinks and fo_subnets4 maps. */
#ifndef FLYOVER_UPLINK_H
#define FLYOVER_UPLINK_H

#include "kernel.h"
#include "network.h"
#include "pkt.h"

#define UPLINKS_MAX 256

struct uplink_key {
	__u32 ifindex;
};

struct uplink_entry {
	__u8 source4[4];  /* the host's address there, which the outside sees */
	__u32 mtu;	  /* bytes, IP header included */
	__u16 port_first; /* outside ports, host byte order, both included */
	__u16 port_last;
};

/* Written by control alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UPLINKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct uplink_key);
	__type(value, struct uplink_entry);
} fo_uplinks SEC(".maps");

struct subnet4_key {
	__u32 prefix_len;
	__u8 addr[4];
};

struct subnet_entry {
	__u32 network;
};

/* The subnets of masqueraded networks: no source address of these may leave. Written by control alone. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NETWORKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct subnet4_key);
	__type(value, struct subnet_entry);
} fo_subnets4 SEC(".maps");

static __always_inline struct uplink_entry *uplink_lookup(__u32 ifindex)
{
	struct uplink_key key = { .ifindex = ifindex };

	return bpf_map_lookup_elem(&fo_uplinks, &key);
}

/* The masqueraded network whose subnet has the address, or NULL: the address is not inside. */
static __always_inline struct subnet_entry *uplink_inside(__be32 addr)
{
	struct subnet4_key key = { .prefix_len = 32 };

	addr4_store(key.addr, addr);
	return bpf_map_lookup_elem(&fo_subnets4, &key);
}

/* Where the host would send the packet. */
struct route {
	__u32 ifindex; /* 0: to nowhere, or to the host itself */
	__be32 next_hop;
};

/*
 * The host's routing decides, asked as for a packet that arrived on ifindex, or, with BPF_FIB_LOOKUP_OUTPUT, for one that is to
 * leave by it. A missing neighbour is no obstacle: bpf_redirect_neigh resolves it and holds the packet meanwhile. A next hop of
 * the other address family is left to the stack.
 */
static __always_inline struct route uplink_route(const struct pkt *p, __u32 ifindex, __u32 flags)
{
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.l4_protocol = p->proto,
		.ifindex = ifindex,
		.ipv4_src = p->src,
		.ipv4_dst = p->dst,
	};
	struct route r = {};
	long ret = bpf_fib_lookup(p->skb, &fib, sizeof(fib), flags);

	if (fib.family != AF_INET)
		return r;
	if (ret == BPF_FIB_LKUP_RET_SUCCESS || ret == BPF_FIB_LKUP_RET_NO_NEIGH || ret == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		r.ifindex = fib.ifindex;
		r.next_hop = fib.ipv4_dst;
	}
	return r;
}

#endif
