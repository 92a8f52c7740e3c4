/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* masquerade.h - finds or makes the session of a packet from inside. The one way to a session, for the fast and the slow path. */
#ifndef FLYOVER_MASQUERADE_H
#define FLYOVER_MASQUERADE_H

#include "endpoint.h"
#include "family.h"
#include "kernel.h"
#include "network.h"
#include "pkt.h"
#include "port.h"
#include "reason.h"
#include "session.h"
#include "uplink.h"

/* What a session to be made is to be. */
struct session_request {
	struct session_key key;
	__u32 endpoint;	 /* ifindex of the host's end */
	__u32 network;	 /* whose the inside is */
	__u32 uplink;	 /* ifindex */
	addr_t next_hop; /* 0: not known */
	__u32 tcp_mark;
	enum session_state state;    /* to begin in */
	struct session_entry fresh;  /* what its entry is until it is filled in */
	struct mapping_key mapping;  /* whose share it takes */
	struct port_key port;	     /* the mapping's */
	struct mapping_entry mapped; /* the mapping, if it is to be made */
	struct port_entry owner;     /* of the mapping's port, for an open filter */
};

/* The request of this CPU, apart from the stack, which has no room for it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct session_request);
} fo_request SEC(".maps");

static __always_inline struct session_request *masquerade_request(void)
{
	__u32 index = 0;

	return bpf_map_lookup_elem(&fo_request, &index);
}

/* May the endpoint make one more session? What it has left expired does not count against it. */
static __always_inline enum reason masquerade_admit(const struct endpoint_entry *ep, struct usage_entry *u, __u32 now)
{
	enum reason reason = usage_admit(ep, u);

	if (reason != DROP_LIMIT_SESSIONS)
		return reason;
	session_collect_pressed(now, 0);
	return READ_ONCE(u->sessions) < ep->sessions_max ? REASON_NONE : DROP_LIMIT_SESSIONS;
}

/*
 * Claims the entry of the session: a fresh one with its token, or one whose last session is over. *s is then ours alone until
 * its life is stored, in the state that is returned in *was. DROP_SESSION_RACE: another CPU has it.
 */
static __always_inline enum reason masquerade_enter(struct session_request *req, struct session_entry **s,
						    enum session_state *was, __u32 now)
{
	const struct session_key *key = &req->key;
	struct session_entry *old = bpf_map_lookup_elem(&fo_sessions, key);
	struct session_life life;

	req->fresh.life = (struct session_life){ .seen = now, .state = SESSION_CLAIMED };
	*was = SESSION_DEAD;
	if (old) {
		life = session_life_load(&old->life);
		if (!session_is_over(life, key->proto, now, 0) || !session_claim(key, old, life))
			return DROP_SESSION_RACE;
		*was = life.state;
		*s = old;
		return REASON_NONE;
	}
	for (int i = 0; i < COLLECT_ALWAYS; i++)
		session_collect(now, port_hold);
	if (bpf_map_update_elem(&fo_sessions, key, &req->fresh, BPF_NOEXIST)) {
		session_collect_pressed(now, 0);
		if (bpf_map_update_elem(&fo_sessions, key, &req->fresh, BPF_NOEXIST))
			return bpf_map_lookup_elem(&fo_sessions, key) ? DROP_SESSION_RACE : DROP_SESSIONS_FULL;
	}
	if (bpf_map_push_elem(&fo_expiry, key, 0)) { /* as many tokens as entries: it has room */
		bpf_map_delete_elem(&fo_sessions, key);
		return DROP_SESSIONS_FULL;
	}
	*s = bpf_map_lookup_elem(&fo_sessions, key);
	return *s ? REASON_NONE : DROP_SESSION_RACE;
}

/* Finds a port and claims it. If none is found soon, what is over is collected, and then every port is tried. */
static __always_inline bool masquerade_port(struct __sk_buff *skb, __u32 now)
{
	int found = port_find(skb, false);

	if (found)
		return found > 0;
	session_collect_pressed(now, port_hold);
	return port_find(skb, true) > 0;
}

/* Lets any remote send to the port, which is the caller's, unless it may already. False: there is no memory for it. */
static __always_inline bool masquerade_open_port(struct session_request *req, const struct port_search *f)
{
	const struct port_key *port = &req->port;

	req->owner.life = f->fresh.life;
	addr_store(req->owner.inside, addr_load(req->key.inside));
	req->owner.endpoint = req->endpoint;
	req->owner.inside_port = req->key.inside_port;
	return bpf_map_lookup_elem(&fo_ports, port) || !bpf_map_update_elem(&fo_ports, port, &req->owner, BPF_ANY);
}

/* Takes a share in the inside's mapping, which is made if it is missing. Sets f->key.outside_port. */
static __always_inline enum reason masquerade_map(struct __sk_buff *skb, struct session_request *req, bool open,
						  struct port_search *f, const struct endpoint_entry *ep, struct usage_entry *u)
{
	const struct mapping_key *key = &req->mapping;
	struct mapping_entry *m = bpf_map_lookup_elem(&fo_mappings, key);

	if (m) {
		if (!mapping_get(m, mapping_tag(key), &f->key.outside_port))
			return DROP_SESSION_RACE;
		port_key_fill(&req->port, key, f->key.outside_port);
		if (!port_is_host_socket(skb, &f->key) && (!open || masquerade_open_port(req, f)))
			return REASON_NONE;
		if (mapping_put(key, &req->port)) /* the others have ended meanwhile */
			usage_drop_mapping(u);
		return DROP_NO_PORT;
	}
	if (ep && u && ep->mappings_max && READ_ONCE(u->mappings) >= ep->mappings_max) {
		session_collect_pressed(f->now, 0);
		if (READ_ONCE(u->mappings) >= ep->mappings_max)
			return DROP_LIMIT_MAPPINGS;
	}
	if (!masquerade_port(skb, f->now))
		return DROP_NO_PORT;
	port_key_fill(&req->port, key, f->key.outside_port);
	if (open && !masquerade_open_port(req, f)) {
		port_release(&req->port);
		return DROP_NO_PORT;
	}
	req->mapped = (struct mapping_entry){ .outside_port = f->key.outside_port, .tag = mapping_tag(key), .sessions = 1 };
	if (bpf_map_update_elem(&fo_mappings, key, &req->mapped, BPF_NOEXIST)) {
		port_release(&req->port);
		return bpf_map_lookup_elem(&fo_mappings, key) ? DROP_SESSION_RACE : DROP_SESSIONS_FULL;
	}
	usage_add_mapping(u);
	return REASON_NONE;
}

/* What the network's sessions are like. */
static __always_inline enum session_flags masquerade_flags(const struct network_entry *net)
{
	if (net->flags & NETWORK_ENDPOINT_DEPENDENT)
		return 0;
	return net->flags & NETWORK_OPEN_FILTER ? SESSION_MAPPED | SESSION_OPEN : SESSION_MAPPED;
}

/* Fills what is known of the session's outside tuple: all but the port. */
static __always_inline void masquerade_seek(const struct session_request *req, const struct uplink_entry *up,
					    const struct network_entry *net, __u32 now, struct port_search *f)
{
	addr_store(f->key.remote, addr_load(req->key.remote));
	addr_store(f->key.outside, uplink_source(up));
	f->key.remote_port = req->key.remote_port;
	f->key.proto = req->key.proto;
	f->fresh.life = (struct session_life){ .seen = now, .state = req->state };
	addr_store(f->fresh.inside, addr_load(req->key.inside));
	f->fresh.endpoint = req->endpoint;
	f->fresh.inside_port = req->key.inside_port;
	f->fresh.sessions = 1;
	f->uplink = req->uplink;
	f->key.outside_port = 0;
	f->first = net->port_first;
	f->last = net->port_last;
	f->now = now;
	f->mapped = !(net->flags & NETWORK_ENDPOINT_DEPENDENT);
	f->fresh.tuple = !f->mapped;
}

/* Takes the shares that the session holds from then on, all of them or none. Sets f->key.outside_port. */
static __always_inline enum reason masquerade_take(struct __sk_buff *skb, struct session_request *req, enum session_flags flags,
						   struct port_search *f, const struct endpoint_entry *ep, struct usage_entry *u)
{
	enum reason reason;

	if (!(flags & SESSION_MAPPED))
		return masquerade_port(skb, f->now) ? REASON_NONE : DROP_NO_PORT;
	session_mapping_key(&req->mapping, &req->key, f->key.outside);
	reason = masquerade_map(skb, req, flags & SESSION_OPEN, f, ep, u);
	if (reason || (flags & SESSION_OPEN))
		return reason;
	f->key.remote_port = 0;
	if (reply_get(&f->key, &f->fresh))
		return REASON_NONE;
	if (mapping_put(&req->mapping, &req->port))
		usage_drop_mapping(u);
	return DROP_SESSION_RACE;
}

/* What changes from one request for the session to the next. */
static __always_inline void masquerade_update(const struct session_request *req, const struct uplink_entry *up,
					      struct session_entry *s)
{
	addr_store(s->next_hop, req->next_hop);
	s->mtu = up->mtu;
	s->tcp_mark = req->tcp_mark;
}

/*
 * Makes the session that this CPU's request asks for; an enum reason. Both directions exist when it returns REASON_NONE, and neither
 * when it returns anything else. An expired session of the same flow that still holds its port goes on with it. Global, as
 * session_collect().
 */
__noinline int masquerade_open(struct __sk_buff *skb)
{
	struct session_request *req = masquerade_request();
	struct port_search *f = port_search_here();
	struct endpoint_entry *ep;
	struct usage_entry *u = NULL;
	struct session_entry *s = NULL;
	struct network_entry *net;
	struct uplink_entry *up;
	enum session_flags flags;
	enum session_state was;
	enum reason reason;

	if (!req || !f)
		return DROP_NO_UPLINK;
	up = uplink_lookup(req->uplink);
	net = network_lookup(req->network);
	if (!up || !net || !uplink_source(up))
		return DROP_NO_UPLINK;
	masquerade_seek(req, up, net, session_now(), f);
	ep = endpoint_lookup(req->endpoint);
	if (ep)
		u = usage_lookup(ep->id);
	reason = ep && u ? masquerade_admit(ep, u, f->now) : REASON_NONE;
	if (reason)
		return reason;
	flags = masquerade_flags(net);
	reason = masquerade_enter(req, &s, &was, f->now);
	if (reason)
		return reason;
	if (!s)
		return DROP_SESSION_RACE;
	if (was != SESSION_DEAD) {
		if (s->uplink == req->uplink && s->flags == flags && addr_load(s->outside) == uplink_source(up)) {
			masquerade_update(req, up, s);
			session_publish(&req->key, s, session_life_word(f->fresh.life), req->endpoint);
			session_life_store(&s->life, f->fresh.life);
			return REASON_NONE;
		}
		session_release(&req->key, s);
	}
	reason = masquerade_take(skb, req, flags, f, ep, u);
	if (reason) {
		session_life_store(&s->life, (struct session_life){ .seen = f->now, .state = SESSION_DEAD });
		return reason;
	}
	addr_store(s->outside, uplink_source(up));
	s->uplink = req->uplink;
	s->outside_port = f->key.outside_port;
	s->flags = flags;
	s->endpoint = ep ? ep->id : USAGE_NOBODY;
	masquerade_update(req, up, s);
	usage_add_session(u);
	session_publish(&req->key, s, session_life_word(f->fresh.life), req->endpoint);
	session_life_store(&s->life, f->fresh.life);
	return REASON_NONE;
}

/* Makes the session of a packet from the inside behind endpoint, by route, and finds it. */
static __always_inline enum reason masquerade_make(struct pkt *p, const struct session_key *key, __u32 endpoint, __u32 network,
						   struct route route, struct session_entry **s)
{
	struct session_request *req = masquerade_request();
	enum reason reason;

	/* What the inside refuses does not take a session, nor keep a mapping: else the outside could have it do so (RFC 7857 section 7.1). */
	if (p->h->tcp_flags & TCP_RST)
		return DROP_RESET;
	if (!req)
		return DROP_NO_UPLINK;
	req->key = *key;
	req->endpoint = endpoint;
	req->network = network;
	req->uplink = route.ifindex;
	req->next_hop = route.next_hop;
	req->state = SESSION_ESTABLISHED;
	req->tcp_mark = 0;
	if (p->h->proto == IPPROTO_TCP) {
		req->state = tcp_begins(p->h->tcp_flags);
		req->tcp_mark = tcp_first_mark(p->h->tcp_seq, p->h->tcp_ack, p->h->tcp_flags);
	}
	reason = masquerade_open(p->skb);
	if (!reason)
		*s = bpf_map_lookup_elem(&fo_sessions, key);
	return reason;
}

/*
 * The live session of a packet from the inside behind endpoint, or NULL. *stale: the first packet in a second, the time to look at
 * the route again.
 */
static __always_inline struct session_entry *masquerade_find(const struct pkt *p, const struct session_key *key, __u32 endpoint,
							     bool *stale)
{
	struct session_entry *s = bpf_map_lookup_elem(&fo_sessions, key);
	struct session_life life;
	__u32 now;

	if (!s)
		return NULL;
	now = session_now();
	life = session_life_load(&s->life);
	if (!session_is_live(life, key->proto, now) || !session_touch(p, key, s, life, endpoint, now))
		return NULL;
	*stale = (__s32)(now - life.seen) > 0 || !addr_load(s->next_hop);
	return s;
}

/*
 * Follows the host's routing, and the network's kind of mapping and filter: replies to another kind are not looked for. A session
 * stays with its uplink as long as that has a route to the remote, and the address that the session is translated to. False: the
 * session has ended.
 */
static __always_inline bool masquerade_refresh(const struct pkt *p, const struct session_key *key, struct session_entry *s,
					       const struct network_entry *net, struct route route)
{
	struct uplink_entry *up = uplink_lookup(s->uplink);

	if (route.ifindex != s->uplink)
		route = uplink_route(p, s->uplink, BPF_FIB_LOOKUP_OUTPUT);
	if (up && s->flags == masquerade_flags(net) && route.ifindex == s->uplink && uplink_source(up) == addr_load(s->outside)) {
		addr_store(s->next_hop, route.next_hop);
		s->mtu = up->mtu;
		return true;
	}
	session_end(key, s);
	return false;
}

#endif
