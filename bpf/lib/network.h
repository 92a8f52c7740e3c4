/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* network.h - what is common to the endpoints of one network? Owns the fo_networks map. */
#ifndef FLYOVER_NETWORK_H
#define FLYOVER_NETWORK_H

#include "family.h"
#include "kernel.h"

#define NETWORKS_MAX 1024

enum network_flags {
	NETWORK_MASQUERADE = 1,		/* traffic to the outside is translated */
	NETWORK_ENDPOINT_DEPENDENT = 2, /* an outside port stands for one inside port towards one remote only */
	NETWORK_OPEN_FILTER = 4, /* any remote may send to a mapped port (RFC 4787 section 5: endpoint-independent filtering) */
	NETWORK_EXEMPT = 8,	 /* some destinations see its own addresses, see lib/exempt.h */
	NETWORK_ROUTED =
		16, /* what is for others of the host that have this flag is routed; without, nothing passes between them */
	NETWORK_UNGUARDED =
		32, /* it has an endpoint without source guard, behind which there may be anybody, see lib/unguarded.h */
};

struct network_entry {
	__u8 gateway4[4]; /* the host's address on the network; 0.0.0.0: it has no IPv4 */
	__u8 subnet4[4];  /* network address */
	__u8 mask4[4];	  /* netmask */
	__u32 bridge;	  /* ifindex of the bridge device; 0: no such network */
	__u32 mtu;	  /* bytes, IP header included */
	enum network_flags flags;
	__u8 gateway_mac[ETH_ALEN]; /* the bridge device's */
	__u8 pad[2];
	__u16 port_first; /* outside ports, host byte order, both included */
	__u16 port_last;
	__u8 gateway6[16]; /* the same of IPv6 */
	__u8 subnet6[16];
	__u8 mask6[16];
};
_Static_assert(sizeof(struct network_entry) == 84, "no hidden padding");

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

static __always_inline addr_t network_gateway(const struct network_entry *net)
{
	return addr_load(FAMILY == 6 ? net->gateway6 : net->gateway4);
}

static __always_inline addr_t network_subnet(const struct network_entry *net)
{
	return addr_load(FAMILY == 6 ? net->subnet6 : net->subnet4);
}

static __always_inline addr_t network_mask(const struct network_entry *net)
{
	return addr_load(FAMILY == 6 ? net->mask6 : net->mask4);
}

/* Is the address in the network's subnet? A network without one of the family has the mask 0. */
static __always_inline bool network_contains(const struct network_entry *net, addr_t addr)
{
	addr_t mask = network_mask(net);

	return mask && (addr & mask) == network_subnet(net);
}

/*
 * Is it an address of the network that is no endpoint's, and that the host knows what to do with? IPv4: all ones behind the prefix, which
 * is everybody (RFC 1812 section 5.3.5.2). IPv6: all zeros, which is the router (RFC 4291 section 2.6.1).
 */
static __always_inline bool network_is_shared(const struct network_entry *net, addr_t addr)
{
	addr_t host = addr & ~network_mask(net);

	return FAMILY == 6 ? !host : host == ~network_mask(net);
}

#endif
