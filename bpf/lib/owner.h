/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* owner.h - whose is a packet from outside, and may it pass to them? */
#ifndef FLYOVER_OWNER_H
#define FLYOVER_OWNER_H

#include "family.h"
#include "kernel.h"
#include "mapping.h"
#include "pkt.h"
#include "reply.h"
#include "session.h"
#include "uplink.h"

/*
 * Whose is the flow that the outside calls key? That of a mapping that knows the remote, or what else there can be, as the uplink says. A
 * tuple is looked for first if the last packet was one's.
 */
static __always_inline bool owner_find(__u32 uplink, const struct reply_key *flow, struct reply_owner *owner)
{
	struct port_key port = { .outside_port = flow->outside_port, .proto = flow->proto };
	struct reply_guess *guess = reply_guess_here();
	struct reply_key key = *flow;
	struct uplink_entry *up;
	bool first;

	if (!guess)
		return false;
	first = guess->tuple && flow->remote_port;
	if (first && reply_owner_of(&key, owner))
		return true;
	key.remote_port = 0;
	/* A tuple may have remote port 0, too, and is nobody else's then. */
	if (reply_owner_of(&key, owner) && (owner->mapped || !flow->remote_port)) {
		if (first)
			guess->tuple = false;
		return true;
	}
	up = uplink_lookup(uplink);
	if (!up)
		return false;
	if ((up->lookups & UPLINK_TUPLES) && flow->remote_port && !first) {
		key.remote_port = flow->remote_port;
		if (reply_owner_of(&key, owner)) {
			guess->tuple = true;
			return true;
		}
	}
	addr_store(port.outside, addr_load(flow->outside));
	return (up->lookups & UPLINK_PORTS) && port_owner_of(&port, owner);
}

/* May the packet from outside pass to the owner of the port that it is for? Follows the TCP state of its session. */
static __always_inline bool owner_wants(struct pkt *p, const struct reply_owner *owner)
{
	struct session_key key = { .inside_port = owner->inside_port, .remote_port = p->h->sport, .proto = p->h->proto };
	struct session_entry *s;
	struct session_life life;
	__u32 now = session_now();

	if (p->h->proto != IPPROTO_TCP)
		return session_is_live(owner->life, p->h->proto, now);
	addr_store(key.inside, owner->inside);
	addr_store(key.remote, p->h->src);
	s = bpf_map_lookup_elem(&fo_sessions, &key);
	if (s && s->outside_port == p->h->dport && addr_load(s->outside) == p->h->dst) {
		life = session_life_load(&s->life);
		if (session_is_live(life, p->h->proto, now))
			return session_touch(p, &key, s, life, 0, now);
	}
	/* A connection that the outside begins, to a port whose filter lets the remote in. */
	return owner->mapped && tcp_begins(p->h->tcp_flags) == SESSION_OPENING && session_is_live(owner->life, p->h->proto, now);
}

#endif
