/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * reply.h - whose is a packet from outside? Owns the fo_replies4 map, the sessions' index by what the outside uses, and fo_guess.
 *
 * An endpoint-independent mapping has one entry for each remote address that its inside has sent to, whatever the port: that is
 * address-dependent filtering (RFC 4787 section 5). An endpoint-dependent session has an entry of its own.
 */
#ifndef FLYOVER_REPLY_H
#define FLYOVER_REPLY_H

#include "kernel.h"
#include "life.h"
#include "pkt.h"

/* Set by the loader; the sizes of fo_replies4, fo_sessions4 and fo_expiry are one number. */
#define SESSIONS_DEFAULT 131072

struct reply4_key {
	__u8 remote[4];
	__u8 outside[4];
	__be16 remote_port; /* 0: any port of the remote, and ICMP queries */
	__be16 outside_port;
	__u8 proto;
	__u8 pad[3];
};
_Static_assert(sizeof(struct reply4_key) == 16, "no hidden padding: the key is hashed as bytes");

struct reply4_entry {
	struct session_life life; /* copy of that of the session that lasts longest */
	__u8 inside[4];
	__u32 endpoint; /* ifindex of the host's end */
	__be16 inside_port;
	bool tuple; /* one session's own, even if its remote port is 0 */
	__u8 pad;
	__u32 sessions; /* that share the entry */
};
_Static_assert(sizeof(struct reply4_entry) == 24, "no hidden padding");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(key, struct reply4_key);
	__type(value, struct reply4_entry);
} fo_replies4 SEC(".maps");

struct reply4_guess {
	bool tuple; /* the last packet whose owner was found was found by its tuple */
};

/* Index: 0. What this CPU looks for first, since packets are most often of the same kind as the one before; for speed alone. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reply4_guess);
} fo_guess SEC(".maps");

static __always_inline struct reply4_guess *reply4_guess_here(void)
{
	__u32 index = 0;

	return bpf_map_lookup_elem(&fo_guess, &index);
}

/* What a packet from outside calls its flow. */
static __always_inline struct reply4_key reply4_key_of(const struct pkt *p)
{
	/* An ICMP query has one identifier, and it is the outside's "port" whichever way the query goes. */
	bool icmp = p->proto == IPPROTO_ICMP;
	struct reply4_key key = {
		.remote_port = icmp ? 0 : p->sport,
		.outside_port = icmp ? p->sport : p->dport,
		.proto = p->proto,
	};

	addr4_store(key.remote, p->src);
	addr4_store(key.outside, p->dst);
	return key;
}

/* Whose an outside port is, copied out of the entry that says so. */
struct reply4_owner {
	struct session_life life;
	__be32 inside;
	__u32 endpoint; /* ifindex of the host's end */
	__be16 inside_port;
	bool mapped; /* the port is a mapping's, so that the outside may begin a flow to it */
};

static __always_inline bool reply4_owner_of(const struct reply4_key *key, struct reply4_owner *owner)
{
	struct reply4_entry *r = bpf_map_lookup_elem(&fo_replies4, key);

	if (!r)
		return false;
	owner->life = session_life_load(&r->life);
	owner->inside = addr4_load(r->inside);
	owner->endpoint = r->endpoint;
	owner->inside_port = r->inside_port;
	owner->mapped = !key->remote_port && !r->tuple;
	return true;
}

/* Is r an entry of this inside? */
static __always_inline bool reply4_belongs(const struct reply4_entry *r, __be32 inside, __be16 inside_port)
{
	return addr4_load(r->inside) == inside && r->inside_port == inside_port;
}

/* Takes a share in the entry, which is made if it is missing. False: it is another inside's, or about to go. */
static __always_inline bool reply4_get(const struct reply4_key *key, const struct reply4_entry *fresh)
{
	struct reply4_entry *r;

	if (!bpf_map_update_elem(&fo_replies4, key, fresh, BPF_NOEXIST))
		return true;
	r = bpf_map_lookup_elem(&fo_replies4, key);
	return r && reply4_belongs(r, addr4_load(fresh->inside), fresh->inside_port) && share_get(&r->sessions);
}

static __always_inline void reply4_put(const struct reply4_key *key, __be32 inside, __be16 inside_port)
{
	struct reply4_entry *r = bpf_map_lookup_elem(&fo_replies4, key);

	if (r && reply4_belongs(r, inside, inside_port) && share_put(&r->sessions))
		bpf_map_delete_elem(&fo_replies4, key);
}

#endif
