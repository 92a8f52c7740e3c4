/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * session.h - one translated flow: its tuples, how it lives and ends. Owns the fo_sessions4 and fo_expiry4 maps, of IPv6 fo_sessions6 and fo_expiry6.
 *
 * A session is one entry of fo_sessions, keyed by the tuple that the inside uses. In a state above SESSION_CLAIMED, live or
 * expired, it holds a share in an outside port: in its entry of fo_replies, and in its mapping if the network has such. Who
 * takes it out of those states gives the shares back.
 *
 * Expiry needs no process and no timer. At access an expired session is as good as none. For its memory, fo_expiry holds one
 * token for each entry of fo_sessions: whoever makes a session looks at two tokens, drops what has ended and puts the rest
 * back, so that collecting keeps pace with making.
 */
#ifndef FLYOVER_SESSION_H
#define FLYOVER_SESSION_H

#include "exhausted.h"
#include "family.h"
#include "kernel.h"
#include "life.h"
#include "mapping.h"
#include "pkt.h"
#include "reply.h"
#include "usage.h"

/*
 * Tokens that the maker of a session looks at, and those it looks at when something has run out. With one to each new session the table
 * would grow as long as any token was found too young; with two, every second may be.
 */
#define COLLECT_ALWAYS 2
#define COLLECT_PRESSED 256

/* The flow as the inside sees it. ICMP queries: the identifier is inside_port, remote_port is 0. */
struct session_key {
	ADDRESS(inside);
	ADDRESS(remote);
	__be16 inside_port;
	__be16 remote_port;
	__u8 proto;
	PADDING(pad, 3, 3);
};
_Static_assert(sizeof(struct session_key) == 2 * ADDR_LEN + 8, "no hidden padding: the key is hashed as bytes");

enum session_flags {
	SESSION_MAPPED = 1, /* its outside port is an endpoint-independent mapping's */
	SESSION_OPEN = 2,   /* any remote may send to it: the port's entry of fo_ports is its index */
} __attribute__((packed));
_Static_assert(sizeof(enum session_flags) == 1, "one octet");

struct session_entry {
	struct session_life life;
	ADDRESS(outside);  /* translated source address */
	ADDRESS(next_hop); /* towards the remote; refreshed with seen. 0: not known */
	__u32 uplink;	   /* ifindex */
	__be16 outside_port;
	__u16 mtu;	/* of the uplink, bytes; refreshed with seen */
	__u32 tcp_mark; /* see struct tcp_segment; 0 unless TCP */
	__u16 endpoint; /* id, for its usage; USAGE_NOBODY: the host's own */
	enum session_flags flags;
	__u8 pad;
};
_Static_assert(sizeof(struct session_entry) == 24 + 2 * ADDR_LEN, "no hidden padding");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, FAMILY_PREALLOC);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(key, struct session_key);
	__type(value, struct session_entry);
} fo_sessions SEC(".maps");

/* One token for each entry of fo_sessions, oldest look first. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(value, struct session_key);
} fo_expiry SEC(".maps");

static __always_inline struct session_key session_key_of(const struct pkt *p)
{
	struct session_key key = {
		.inside_port = p->h->sport,
		.remote_port = p->h->dport,
		.proto = p->h->proto,
	};

	addr_store(key.inside, p->h->src);
	addr_store(key.remote, p->h->dst);
	return key;
}

/* Does the session lead back in, by an outside port (RFC 4787 section 6)? */
static __always_inline bool session_is_hairpin(const struct pkt *p, const struct session_entry *s)
{
	return addr_load(s->outside) == p->h->dst;
}

static __always_inline void session_mapping_key(struct mapping_key *mapping, const struct session_key *key, const __u8 *outside)
{
	*mapping = (struct mapping_key){ .inside_port = key->inside_port, .proto = key->proto };
	addr_store(mapping->inside, addr_load(key->inside));
	addr_store(mapping->outside, addr_load(outside));
}

static __always_inline void session_reply_key(struct reply_key *reply, const struct session_key *key,
					      const struct session_entry *s)
{
	*reply = (struct reply_key){
		.remote_port = s->flags & SESSION_MAPPED ? 0 : key->remote_port,
		.outside_port = s->outside_port,
		.proto = key->proto,
	};
	addr_store(reply->remote, addr_load(key->remote));
	addr_store(reply->outside, addr_load(s->outside));
}

/*
 * Copies the session's life to where a packet from outside finds it, and, unless endpoint is 0, where its inside is now. Of an entry that
 * others share, the longest life counts: one that has closed does not shut the others out. A global function, as session_release().
 */
__noinline int session_publish(const struct session_key *key, const struct session_entry *s, __u64 word, __u32 endpoint)
{
	struct session_life life = session_life_of(word);
	struct mapping_key mapping_key;
	struct mapping_entry *m;
	struct reply_key reply_key;
	struct port_key port_key;
	struct reply_entry *r;
	struct port_entry *port;

	if (!key || !s)
		return 0;
	if (s->flags & SESSION_OPEN) {
		session_mapping_key(&mapping_key, key, s->outside);
		port_key_fill(&port_key, &mapping_key, s->outside_port);
		port = bpf_map_lookup_elem(&fo_ports, &port_key);
		m = bpf_map_lookup_elem(&fo_mappings, &mapping_key);
		if (!port || !m)
			return 0;
		if (endpoint)
			port->endpoint = endpoint;
		session_life_share(&port->life, life, key->proto, READ_ONCE(m->sessions));
		return 0;
	}
	session_reply_key(&reply_key, key, s);
	r = bpf_map_lookup_elem(&fo_replies, &reply_key);
	if (!r || !reply_belongs(r, addr_load(key->inside), key->inside_port))
		return 0;
	if (endpoint)
		r->endpoint = endpoint;
	session_life_share(&r->life, life, key->proto, READ_ONCE(r->sessions));
	return 0;
}

/* The segment of p as the session sees it. */
static __always_inline struct tcp_segment session_segment(const struct pkt *p, const struct session_entry *s)
{
	return (struct tcp_segment){
		.seq = p->h->tcp_seq, .ack = p->h->tcp_ack, .flags = p->h->tcp_flags, .mark = READ_ONCE(s->tcp_mark)
	};
}

/* What p does to the state of its session, and to its mark, which is written at once. */
static __always_inline enum session_state session_next(const struct pkt *p, struct session_entry *s, enum session_state state,
						       bool from_inside)
{
	struct tcp_segment t;
	enum session_state next;
	__u32 mark;

	if (p->h->proto != IPPROTO_TCP)
		return state;
	t = session_segment(p, s);
	next = from_inside ? tcp_next_out(state, t.flags) : tcp_next_in(state, &t);
	mark = from_inside ? tcp_mark_out(state, &t) : tcp_mark_in(state, next, &t);
	if (mark != t.mark)
		s->tcp_mark = mark;
	return next;
}

/*
 * Notes a packet of a live session, from the inside behind endpoint or, if that is 0, from outside. False: the session ended
 * under our hands. The life is written at most once a second, and at a change of state; only what comes from inside keeps a
 * session alive (RFC 4787 REQ-6), RST does not (RFC 7857 section 7.1), and a new state gets its whole time.
 */
static __always_inline bool session_touch(const struct pkt *p, const struct session_key *key, struct session_entry *s,
					  struct session_life was, __u32 endpoint, __u32 now)
{
	struct session_life becomes = was;
	bool refreshes = endpoint && !(p->h->tcp_flags & TCP_RST);

	becomes.state = session_next(p, s, was.state, endpoint);
	if ((refreshes || becomes.state != was.state) && (__s32)(now - was.seen) > 0)
		becomes.seen = now;
	if (becomes.state == was.state && becomes.seen == was.seen)
		return true;
	if (!session_life_swap(&s->life, was, becomes))
		/* Lost to another packet of the same session, which noted as much, or to its end. */
		return session_is_live(session_life_load(&s->life), key->proto, now);
	session_publish(key, s, session_life_word(becomes), endpoint);
	return true;
}

/* Keys of this CPU, apart from the stack, which has no room for them. */
struct session_work {
	struct session_key token;
	struct mapping_key mapping;
	struct port_key port;
	struct reply_key reply;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct session_work);
} fo_release SEC(".maps");

static __always_inline struct session_work *session_here(void)
{
	__u32 index = 0;

	return bpf_map_lookup_elem(&fo_release, &index);
}

/*
 * Gives back what a session holds, whose entry the caller has claimed: of a dead one it may be deleted at any time, and used again.
 * A global function, so that the verifier reads it once, and to have its own stack.
 */
__noinline int session_release(const struct session_key *key, const struct session_entry *s)
{
	struct session_work *w = session_here();
	addr_t outside;

	if (!key || !s || !w)
		return 0;
	session_mapping_key(&w->mapping, key, s->outside);
	session_reply_key(&w->reply, key, s);
	outside = addr_load(s->outside);

	if (!(s->flags & SESSION_OPEN))
		reply_put(&w->reply, addr_load(key->inside), key->inside_port);
	if (!(s->flags & SESSION_MAPPED)) {
		exhausted_forget(exhausted_space(outside, addr_load(key->remote), key->remote_port, key->proto));
	} else if (mapping_put(&w->mapping, &w->port)) {
		exhausted_forget(exhausted_space(outside, 0, 0, key->proto));
		usage_drop_mapping(usage_lookup(s->endpoint));
	}
	usage_drop_session(usage_lookup(s->endpoint));
	return 0;
}

/*
 * Claims the entry, if it is the key's still: another CPU may have deleted it, and made it another flow's, since it was looked up. Nobody
 * deletes a claimed one.
 */
static __always_inline bool session_claim(const struct session_key *key, struct session_entry *s, struct session_life was)
{
	if (!session_life_claim(&s->life, was))
		return false;
	if (bpf_map_lookup_elem(&fo_sessions, key) == s)
		return true;
	session_life_store(&s->life, was);
	return false;
}

/* Ends a session that lives so, unless another CPU was first; its entry stays, dead. */
static __always_inline bool session_bury(const struct session_key *key, struct session_entry *s, struct session_life was)
{
	if (!session_claim(key, s, was))
		return false;
	session_release(key, s);
	was.state = SESSION_DEAD;
	session_life_store(&s->life, was);
	return true;
}

/*
 * Ends a session before its time; its entry can be made anew at once. Returns how it lived until then, SESSION_DEAD if there was
 * nothing to end. A packet that changes it at this moment comes first, and then it ends all the same, unless there are many.
 */
static __always_inline struct session_life session_end(const struct session_key *key, struct session_entry *s)
{
	struct session_life life;

	for (int i = 0; i < 4; i++) {
		life = session_life_load(&s->life);
		if (life.state <= SESSION_CLAIMED)
			break;
		if (session_bury(key, s, life))
			return life;
	}
	return (struct session_life){ .state = SESSION_DEAD };
}

struct end_turn {
	addr_t inside; /* 0: any */
	__u32 now;
	__u32 live; /* how many were */
};

static long session_end_step(__attribute__((unused)) void *map, const struct session_key *key, struct session_entry *s,
			     struct end_turn *t)
{
	struct session_key own = *key;

	if (t->inside && addr_load(own.inside) != t->inside)
		return 0;
	if (session_is_live(session_end(&own, s), own.proto, t->now))
		t->live++;
	return 0;
}

/* Ends every session of an inside address, or with 0 all; those that begin meanwhile may be left. Returns how many were live. */
static __always_inline __u32 session_end_all(addr_t inside, __u32 now)
{
	struct end_turn turn = { .inside = inside, .now = now };

	bpf_for_each_map_elem(&fo_sessions, session_end_step, &turn, 0);
	return turn.live;
}

enum collect {
	COLLECT_NOTHING, /* there is no token */
	COLLECT_KEPT,
	COLLECT_REMOVED,
};

/*
 * Looks at the oldest token: ends its session if that has been over for hold seconds, else puts the token back. An enum collect. A
 * global function, so that the verifier reads it once and not once for each turn of a loop.
 */
__noinline int session_collect(__u32 now, __u32 hold)
{
	struct session_work *w = session_here();
	struct session_entry *s;
	struct session_life life;

	if (!w || bpf_map_pop_elem(&fo_expiry, &w->token))
		return COLLECT_NOTHING;
	s = bpf_map_lookup_elem(&fo_sessions, &w->token);
	if (!s)
		return COLLECT_KEPT;
	life = session_life_load(&s->life);
	if (!session_is_over(life, w->token.proto, now, hold) || !session_life_claim(&s->life, life)) {
		bpf_map_push_elem(&fo_expiry, &w->token, 0);
		return COLLECT_KEPT;
	}
	if (life.state != SESSION_DEAD)
		session_release(&w->token, s);
	bpf_map_delete_elem(&fo_sessions, &w->token);
	return COLLECT_REMOVED;
}

/* Of collecting under pressure. Shared by all CPUs. */
struct pressed_entry {
	__u32 made;    /* how often, modulo 2^32 */
	__u32 vain[2]; /* when last in vain, milliseconds of CLOCK_MONOTONIC, modulo 2^32: without a hold time, and with one */
};

/* Index: 0. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pressed_entry);
} fo_pressed SEC(".maps");

struct collect_turn {
	__u32 now;
	__u32 hold;
	__u32 removed;
};

static long session_collect_step(__attribute__((unused)) __u32 turn, struct collect_turn *t)
{
	int went = session_collect(t->now, t->hold);

	asm volatile("" : "+r"(went)); /* the compiler knows its bounds, and the verifier does not */
	if (went == COLLECT_REMOVED)
		t->removed++;
	return went ? 0 : 1;
}

/*
 * Collects what has been over for hold seconds, when ports, entries or a limit have run out. Once in vain, it is not done again until
 * the clock has moved: a flood of packets that are refused must not have 256 tokens looked at for each. Not inlined, for its stack.
 */
static __noinline void session_collect_pressed(__u32 now, __u32 hold)
{
	struct collect_turn turn = { .now = now, .hold = hold | SESSION_PRESSED };
	__u32 index = 0, at = usage_now();
	struct pressed_entry *e = bpf_map_lookup_elem(&fo_pressed, &index);

	if (!e || READ_ONCE(e->vain[!!hold]) == at)
		return;
	e->made++;
	bpf_loop(COLLECT_PRESSED, session_collect_step, &turn, 0);
	if (!turn.removed)
		e->vain[!!hold] = at;
}

#endif
