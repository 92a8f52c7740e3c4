/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* uplink.h - which interfaces lead outside, and what is inside? Owns the fo_uplinks, fo_subnets and fo_subnets6 maps. */
#ifndef FLYOVER_UPLINK_H
#define FLYOVER_UPLINK_H

#include "family.h"
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
	__u8 source4[4];  /* the host's address there, which the outside sees; 0.0.0.0: none */
	__u8 source6[16]; /* the same of IPv6 */
	__u32 mtu;	  /* bytes, IP header included */
	__u16 port_first; /* where the outside ports of all networks are, host byte order, both included */
	__u16 port_last;
	enum uplink_lookups lookups;
};
_Static_assert(sizeof(struct uplink_entry) == 32, "no hidden padding");

/* Written by control alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UPLINKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct uplink_key);
	__type(value, struct uplink_entry);
} fo_uplinks SEC(".maps");

struct subnet_key {
	__u32 prefix_len;
	__u8 addr[ADDR_LEN];
};

struct subnet_entry {
	__u32 network; /* index into fo_networks */
};

/* The subnets of all networks. Written by control alone. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NETWORKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct subnet_key);
	__type(value, struct subnet_entry);
} fo_subnets SEC(".maps");

static __always_inline struct uplink_entry *uplink_lookup(__u32 ifindex)
{
	struct uplink_key key = { .ifindex = ifindex };

	return bpf_map_lookup_elem(&fo_uplinks, &key);
}

/* The host's address of the family on the uplink, which the outside sees; 0: it has none, and nothing is translated there. */
static __always_inline addr_t uplink_source(const struct uplink_entry *up)
{
	return addr_load(FAMILY == 6 ? up->source6 : up->source4);
}

/* The network whose subnet has the address, or NULL: it is none of this host's. */
static __always_inline struct subnet_entry *subnet_lookup(addr_t addr)
{
	struct subnet_key key = { .prefix_len = 8 * ADDR_LEN };

	addr_store_words(key.addr, addr);
	return bpf_map_lookup_elem(&fo_subnets, &key);
}

/* The same if the network is masqueraded, or NULL: the address is not inside, where no source address may leave from. */
static __always_inline struct subnet_entry *uplink_inside(addr_t addr)
{
	struct subnet_entry *subnet = subnet_lookup(addr);
	struct network_entry *net = subnet ? network_lookup(subnet->network) : NULL;

	return net && (net->flags & NETWORK_MASQUERADE) ? subnet : NULL;
}

/* Where the host would send the packet. */
struct route {
	addr_t next_hop;
	__u32 ifindex; /* 0: to nowhere, or to the host itself */
};

/* uplink_route() from the packet's own addresses. A global function, to have its own stack. */
__noinline int uplink_ask(struct __sk_buff *skb, __u32 ifindex, __u32 flags, struct route *route)
{
	struct bpf_fib_lookup fib = { .family = AF_FAMILY, .ifindex = ifindex };
	__u8 *src = pkt_at(skb, PKT_L3 + IP_SOURCE, 2 * ADDR_LEN);
	long ret;

	if (!route || !src)
		return 0;
	route->ifindex = 0;
	addr_store_words((__u8 *)fib.ipv6_src, addr_load(src)); /* both families' begin there */
	addr_store_words((__u8 *)fib.ipv6_dst, addr_load(src + ADDR_LEN));
	ret = bpf_fib_lookup(skb, &fib, sizeof(fib), flags);
	if (fib.family != AF_FAMILY)
		return 0;
	if (ret != BPF_FIB_LKUP_RET_SUCCESS && ret != BPF_FIB_LKUP_RET_NO_NEIGH && ret != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return 0;
	route->ifindex = fib.ifindex;
	route->next_hop = addr_load_words((__u8 *)fib.ipv6_dst);
	return 0;
}

/*
 * The host's routing decides, asked as for a packet that arrived on ifindex, or, with BPF_FIB_LOOKUP_OUTPUT, for one that is to
 * leave by it. A missing neighbour is no obstacle: bpf_redirect_neigh resolves it and holds the packet meanwhile. A next hop of
 * the other address family is left to the stack.
 */
static __always_inline struct route uplink_route(const struct pkt *p, __u32 ifindex, __u32 flags)
{
	struct route route = {};

	uplink_ask(p->skb, ifindex, flags, &route);
	return route;
}

#endif
