/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* uplink.h - which interfaces lead outside, and what is inside? Owns the fo_uplinks, fo_subnets4 and fo_subnets6 maps. */
#ifndef FLYOVER_UPLINK_H
#define FLYOVER_UPLINK_H

#include "kernel.h"
#include "network.h"
#include "pkt.h"

#define UPLINKS_MAX 256

/* What else a packet from outside may belong to, as the networks are configured, besides a mapping that knows its remote. */
enum uplink_lookups {
	UPLINK_TUPLES = 1, /* sessions of endpoint-dependent mappings */
	UPLINK_PORTS = 2,  /* mappings with an open filter */
};

struct uplink_key {
	__u32 ifindex;
};

struct uplink_entry {
	__u8 source4[4];  /* the host's address there, which the outside sees */
	__u32 mtu;	  /* bytes, IP header included */
	__u16 port_first; /* where the outside ports of all networks are, host byte order, both included */
	__u16 port_last;
	enum uplink_lookups lookups;
};
_Static_assert(sizeof(struct uplink_entry) == 16, "no hidden padding");

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

struct subnet6_key {
	__u32 prefix_len;
	__u8 addr[16];
};

/* The same of IPv6. Written by control alone. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NETWORKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct subnet6_key);
	__type(value, struct subnet_entry);
} fo_subnets6 SEC(".maps");

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

static __always_inline struct subnet_entry *uplink_inside6(const __u8 *addr)
{
	struct subnet6_key key = { .prefix_len = 128 };

	addr6_copy(key.addr, addr);
	return bpf_map_lookup_elem(&fo_subnets6, &key);
}

/* Where the host would send the packet. */
struct route {
	__u32 ifindex; /* 0: to nowhere, or to the host itself */
	__be32 next_hop;
};

/* uplink_route() with what it needs of the packet, and with the result in one word: a global function, to have its own stack. */
__noinline __u64 uplink_ask(struct __sk_buff *skb, __be32 src, __be32 dst, __u32 ifindex, __u32 flags)
{
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.ifindex = ifindex,
		.ipv4_src = src,
		.ipv4_dst = dst,
	};
	long ret = bpf_fib_lookup(skb, &fib, sizeof(fib), flags);

	if (fib.family != AF_INET)
		return 0;
	if (ret == BPF_FIB_LKUP_RET_SUCCESS || ret == BPF_FIB_LKUP_RET_NO_NEIGH || ret == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return (__u64)fib.ipv4_dst << 32 | fib.ifindex;
	return 0;
}

/*
 * The host's routing decides, asked as for a packet that arrived on ifindex, or, with BPF_FIB_LOOKUP_OUTPUT, for one that is to
 * leave by it. A missing neighbour is no obstacle: bpf_redirect_neigh resolves it and holds the packet meanwhile. A next hop of
 * the other address family is left to the stack.
 */
static __always_inline struct route uplink_route(const struct pkt *p, __u32 ifindex, __u32 flags)
{
	__u64 word = uplink_ask(p->skb, p->src, p->dst, ifindex, flags);

	return (struct route){ .ifindex = (__u32)word, .next_hop = word >> 32 };
}

#endif
