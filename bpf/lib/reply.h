/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * reply.h - whose is a packet from outside? Owns the fo_replies4 and fo_replies6 maps, the sessions' index by what the outside uses,
 * and fo_guess.
 *
 * An endpoint-independent mapping has one entry for each remote address that its inside has sent to, whatever the port: that is
 * address-dependent filtering (RFC 4787 section 5). An endpoint-dependent session has an entry of its own.
 */
#ifndef FLYOVER_REPLY_H
#define FLYOVER_REPLY_H

#include "family.h"
#include "kernel.h"
#include "life.h"
#include "pkt.h"

/* Set by the loader; the sizes of fo_replies, fo_sessions and fo_expiry are one number. */
#define SESSIONS_DEFAULT 131072

struct reply_key {
	ADDRESS(remote);
	ADDRESS(outside);
	__be16 remote_port; /* 0: any port of the remote, and ICMP queries */
	__be16 outside_port;
	__u8 proto;
	__u8 pad[3];
};
_Static_assert(sizeof(struct reply_key) == 2 * ADDR_LEN + 8, "no hidden padding: the key is hashed as bytes");

struct reply_entry {
	struct session_life life; /* copy of that of the session that lasts longest */
	ADDRESS(inside);
	__u32 endpoint; /* ifindex of the host's end */
	__be16 inside_port;
	bool tuple; /* one session's own, even if its remote port is 0 */
	__u8 pad;
	__u32 sessions; /* that share the entry */
	PADDING(pad_end, 0, 4);
};
_Static_assert(sizeof(struct reply_entry) == (FAMILY == 6 ? 40 : 24), "no hidden padding");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, FAMILY_PREALLOC);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(key, struct reply_key);
	__type(value, struct reply_entry);
} fo_replies SEC(".maps");

struct reply_guess {
	bool tuple; /* the last packet whose owner was found was found by its tuple */
};

/* Index: 0. What this CPU looks for first, since packets are most often of the same kind as the one before; for speed alone. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reply_guess);
} fo_guess SEC(".maps");

static __always_inline struct reply_guess *reply_guess_here(void)
{
	__u32 index = 0;

	return bpf_map_lookup_elem(&fo_guess, &index);
}

/* What a packet from outside calls its flow. */
static __always_inline struct reply_key reply_key_of(const struct pkt *p)
{
	/* An ICMP query has one identifier, and it is the outside's "port" whichever way the query goes. */
	bool icmp = p->h->proto == PROTO_ICMP;
	struct reply_key key = {
		.remote_port = icmp ? 0 : p->h->sport,
		.outside_port = icmp ? p->h->sport : p->h->dport,
		.proto = p->h->proto,
	};

	addr_store(key.remote, p->h->src);
	addr_store(key.outside, p->h->dst);
	return key;
}

/* Whose an outside port is, copied out of the entry that says so. */
struct reply_owner {
	struct session_life life;
	addr_t inside;
	__u32 endpoint; /* ifindex of the host's end */
	__be16 inside_port;
	bool mapped; /* the port is a mapping's, so that the outside may begin a flow to it */
};

static __always_inline bool reply_owner_of(const struct reply_key *key, struct reply_owner *owner)
{
	struct reply_entry *r = bpf_map_lookup_elem(&fo_replies, key);

	if (!r)
		return false;
	owner->life = session_life_load(&r->life);
	owner->inside = addr_load(r->inside);
	owner->endpoint = r->endpoint;
	owner->inside_port = r->inside_port;
	owner->mapped = !key->remote_port && !r->tuple;
	return true;
}

/* Is r an entry of this inside? */
static __always_inline bool reply_belongs(const struct reply_entry *r, addr_t inside, __be16 inside_port)
{
	return addr_load(r->inside) == inside && r->inside_port == inside_port;
}

/* Takes a share in the entry, which is made if it is missing. False: it is another inside's, or about to go. */
static __always_inline bool reply_get(const struct reply_key *key, const struct reply_entry *fresh)
{
	struct reply_entry *r;

	if (!bpf_map_update_elem(&fo_replies, key, fresh, BPF_NOEXIST))
		return true;
	r = bpf_map_lookup_elem(&fo_replies, key);
	return r && reply_belongs(r, addr_load(fresh->inside), fresh->inside_port) && share_get(&r->sessions);
}

static __always_inline void reply_put(const struct reply_key *key, addr_t inside, __be16 inside_port)
{
	struct reply_entry *r = bpf_map_lookup_elem(&fo_replies, key);

	if (r && reply_belongs(r, inside, inside_port) && share_put(&r->sessions))
		bpf_map_delete_elem(&fo_replies, key);
}

#endif
