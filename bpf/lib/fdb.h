/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* fdb.h - behind which interface is this MAC? Owns the fo_fdb map and the way into an endpoint. */
#ifndef FLYOVER_FDB_H
#define FLYOVER_FDB_H

#include "endpoint.h"
#include "kernel.h"

/* Kernels before 6.15 leave the packet type as it was at arrival, so the endpoint's stack would take a bridged packet for
 * somebody else's. Set by the loader from a probe of the running kernel. */
const volatile bool peer_needs_packet_type = true;

struct fdb_key {
	__u32 network;
	__u8 mac[ETH_ALEN];
	__u8 pad[2];
};
_Static_assert(sizeof(struct fdb_key) == 12, "no hidden padding: the key is hashed as bytes");

struct fdb_entry {
	__u32 ifindex;	/* the host's end of the endpoint's pair */
	__u32 endpoint; /* its id, for the counters */
};

/* The endpoints of all networks, static. Written by control alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENDPOINTS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct fdb_key);
	__type(value, struct fdb_entry);
} fo_fdb SEC(".maps");

static __always_inline struct fdb_entry *fdb_lookup(__u32 network, const __u8 *mac)
{
	struct fdb_key key = { .network = network };

	mac_copy(key.mac, mac);
	return bpf_map_lookup_elem(&fo_fdb, &key);
}

/* Straight into the namespace: no second pass through a backlog, no egress of the host's end. */
static __always_inline void fdb_deliver(struct __sk_buff *skb, __u32 ifindex, __u32 endpoint)
{
	endpoint_count_received(endpoint, skb->len);
	if (peer_needs_packet_type)
		bpf_skb_change_type(skb, PACKET_HOST);
	skb->mark = 0; /* redirect_peer keeps it, and it is the host's business */
	bpf_redirect_peer(ifindex, 0);
}

#endif
