/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* network.h - what is common to the endpoints of one network? Owns the fo_networks map. */
#ifndef FLYOVER_NETWORK_H
#define FLYOVER_NETWORK_H

#include "kernel.h"

#define NETWORKS_MAX 1024

enum network_flags {
	NETWORK_MASQUERADE = 1,		/* traffic to the outside is translated */
	NETWORK_ENDPOINT_DEPENDENT = 2, /* an outside port stands for one inside port towards one remote only */
	NETWORK_OPEN_FILTER = 4, /* any remote may send to a mapped port (RFC 4787 section 5: endpoint-independent filtering) */
	NETWORK_EXEMPT = 8,	 /* some destinations see its own addresses, see lib/exempt.h */
};

struct network_entry {
	__u8 gateway4[4]; /* the host's address on the network */
	__u8 subnet4[4];  /* network address */
	__u8 mask4[4];	  /* netmask */
	__u32 bridge;	  /* ifindex of the bridge device; 0: no such network */
	__u32 mtu;	  /* bytes, IP header included */
	enum network_flags flags;
	__u8 gateway_mac[ETH_ALEN]; /* the bridge device's */
	__u8 pad[2];
	__u16 port_first; /* outside ports, host byte order, both included */
	__u16 port_last;
	__u8 subnet6[16]; /* IPv6 network address; ::: none */
	__u32 prefix6;	  /* its length in bits */
};
_Static_assert(sizeof(struct network_entry) == 56, "no hidden padding");

/* Index: network id, given by control. Written by control alone. An array, so that the lookup is inlined. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NETWORKS_MAX);
	__type(key, __u32);
	__type(value, struct network_entry);
} fo_networks SEC(".maps");

static __always_inline struct network_entry *network_lookup(__u32 id)
{
	return bpf_map_lookup_elem(&fo_networks, &id);
}

static __always_inline bool network_contains(const struct network_entry *net, __be32 addr)
{
	return (addr & addr4_load(net->mask4)) == addr4_load(net->subnet4);
}

static __always_inline bool network_contains6(const struct network_entry *net, const __u8 *addr)
{
	__u32 bits = net->prefix6 & 127; /* ::/0 is no subnet, nor is a /128 */
	__u64 high = bpf_be64_to_cpu(*(const be64_bytes *)addr ^ *(const be64_bytes *)net->subnet6);
	__u64 low = bpf_be64_to_cpu(*(const be64_bytes *)(addr + 8) ^ *(const be64_bytes *)(net->subnet6 + 8));

	if (!bits)
		return false;
	return bits <= 64 ? !(high >> (64 - bits)) : !high && !(low >> (128 - bits));
}

/* All ones behind the prefix: the address of everybody on the network (RFC 1812 section 5.3.5.2). */
static __always_inline bool network_is_broadcast(const struct network_entry *net, __be32 addr)
{
	return (addr | addr4_load(net->mask4)) == 0xffffffff;
}

#endif
