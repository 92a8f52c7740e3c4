/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* masquerade.h - finds or makes the session of a packet from inside. The one way to a session, for the fast and the slow path. */
#ifndef FLYOVER_MASQUERADE_H
#define FLYOVER_MASQUERADE_H

#include "kernel.h"
#include "pkt.h"
#include "port.h"
#include "reason.h"
#include "session.h"
#include "uplink.h"

/* Tokens that the maker of a session looks at, and those it looks at when the table is full. */
#define COLLECT_ALWAYS 2
#define COLLECT_FULL 8

/* What a session to be made is to be. */
struct session4_request {
	struct session4_key key;
	__u32 endpoint;	 /* ifindex of the host's end */
	__u32 uplink;	 /* ifindex */
	__be32 next_hop; /* 0: not known */
};

/*
 * Claims the entry of the session: a fresh one with its token, or one whose last session is over. *s is then ours alone until
 * its life is stored. DROP_SESSION_RACE: another CPU has it.
 */
static __always_inline enum reason masquerade_enter(const struct session4_key *key, struct session4_entry **s, __u32 now)
{
	struct session4_entry fresh = { .life = { .seen = now, .state = SESSION_CLAIMED } };
	struct session4_entry *old = bpf_map_lookup_elem(&fo_sessions4, key);
	struct session_life life;

	if (old) {
		life = session_life_load(&old->life);
		if (!session_is_over(life, key->proto, now) || !session_claim(&old->life, life))
			return DROP_SESSION_RACE;
		session4_unindex(key, old);
		*s = old;
		return REASON_NONE;
	}
	for (int i = 0; i < COLLECT_ALWAYS; i++)
		session4_collect(now);
	if (bpf_map_update_elem(&fo_sessions4, key, &fresh, BPF_NOEXIST)) {
		for (int i = 0; i < COLLECT_FULL; i++)
			session4_collect(now);
		if (bpf_map_update_elem(&fo_sessions4, key, &fresh, BPF_NOEXIST))
			return bpf_map_lookup_elem(&fo_sessions4, key) ? DROP_SESSION_RACE : DROP_SESSIONS_FULL;
	}
	if (bpf_map_push_elem(&fo_expiry, key, 0)) { /* as many tokens as entries: it has room */
		bpf_map_delete_elem(&fo_sessions4, key);
		return DROP_SESSIONS_FULL;
	}
	*s = bpf_map_lookup_elem(&fo_sessions4, key);
	return *s ? REASON_NONE : DROP_SESSION_RACE;
}

/* Fills the two sides of the index entry that the session is to get, all but the port. */
static __always_inline void masquerade_index(const struct session4_request *req, const struct uplink_entry *up,
					     struct reply4_key *key, struct reply4_entry *reply)
{
	addr4_store(key->remote, addr4_load(req->key.remote));
	addr4_store(key->outside, addr4_load(up->source4));
	key->remote_port = req->key.remote_port;
	key->proto = req->key.proto;
	addr4_store(reply->inside, addr4_load(req->key.inside));
	reply->endpoint = req->endpoint;
	reply->inside_port = req->key.inside_port;
	reply->life.state = SESSION_CLAIMED;
	reply->life.seen = session_now();
}

/* The session is whole: from here on packets may use it, and its index entry after it. */
static __always_inline void masquerade_begin(const struct session4_key *key, struct session4_entry *s,
					     const struct reply4_key *reply_key, __u32 now)
{
	struct session_life life = {
		.seen = now,
		.state = key->proto == IPPROTO_TCP ? SESSION_OPENING : SESSION_ESTABLISHED,
	};
	struct reply4_entry *r;

	session_life_store(&s->life, life);
	r = bpf_map_lookup_elem(&fo_replies4, reply_key);
	if (r)
		session_life_store(&r->life, life);
}

/*
 * Makes the session; an enum reason. Both directions exist when it returns REASON_NONE, and neither when it returns anything
 * else. Global, as session4_collect().
 */
__noinline int masquerade_open(struct __sk_buff *skb, const struct session4_request *req)
{
	struct reply4_entry reply = {};
	struct reply4_key reply_key = {};
	struct session4_entry *s = NULL;
	struct uplink_entry *up;
	struct session4_key key;
	enum reason reason;

	if (!req)
		return DROP_NO_UPLINK;
	up = uplink_lookup(req->uplink);
	if (!up)
		return DROP_NO_UPLINK;
	masquerade_index(req, up, &reply_key, &reply);
	key = req->key;
	reason = masquerade_enter(&key, &s, reply.life.seen);
	if (reason)
		return reason;
	if (!s)
		return DROP_SESSION_RACE;
	if (!port_claim(skb, &reply_key, &reply, up, port_hash(&key))) {
		s->outside_port = 0;
		session_life_store(&s->life, (struct session_life){ .seen = reply.life.seen, .state = SESSION_DEAD });
		return DROP_NO_PORT;
	}
	addr4_store(s->outside, addr4_load(up->source4));
	addr4_store(s->next_hop, req->next_hop);
	s->uplink = req->uplink;
	s->outside_port = reply_key.outside_port;
	s->mtu = up->mtu;
	masquerade_begin(&key, s, &reply_key, reply.life.seen);
	return REASON_NONE;
}

/* masquerade_open(), and the session it made. */
static __always_inline enum reason masquerade_make(struct __sk_buff *skb, const struct session4_request *req,
						   struct session4_entry **s)
{
	enum reason reason = masquerade_open(skb, req);

	if (!reason)
		*s = bpf_map_lookup_elem(&fo_sessions4, &req->key);
	return reason;
}

/*
 * The live session of a packet from the inside behind endpoint, or NULL. *stale: the first packet in a second, the time to look at
 * the route again.
 */
static __always_inline struct session4_entry *masquerade_find(const struct pkt *p, const struct session4_key *key, __u32 endpoint,
							      bool *stale)
{
	struct session4_entry *s = bpf_map_lookup_elem(&fo_sessions4, key);
	struct session_life life;
	__u32 now;

	if (!s)
		return NULL;
	now = session_now();
	life = session_life_load(&s->life);
	if (!session_is_live(life, key->proto, now) || !session4_touch(key, s, life, p->tcp_flags, endpoint, now))
		return NULL;
	*stale = (__s32)(now - life.seen) > 0 || !addr4_load(s->next_hop);
	return s;
}

/* Ends a session before its time; its entry can be made anew at once. */
static __always_inline void masquerade_end(struct session4_entry *s)
{
	struct session_life life = session_life_load(&s->life);

	if (life.state != SESSION_CLAIMED)
		session_life_swap(&s->life, life, (struct session_life){ .seen = life.seen, .state = SESSION_DEAD });
}

/*
 * Follows the host's routing. A session stays with its uplink as long as that has a route to the remote, and the address that the
 * session is translated to. False: the session has ended.
 */
static __always_inline bool masquerade_refresh(const struct pkt *p, struct session4_entry *s, struct route route)
{
	struct uplink_entry *up = uplink_lookup(s->uplink);

	if (route.ifindex != s->uplink)
		route = uplink_route(p, s->uplink, BPF_FIB_LOOKUP_OUTPUT);
	if (up && route.ifindex == s->uplink && addr4_load(up->source4) == addr4_load(s->outside)) {
		addr4_store(s->next_hop, route.next_hop);
		s->mtu = up->mtu;
		return true;
	}
	masquerade_end(s);
	return false;
}

#endif
