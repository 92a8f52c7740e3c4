/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * session.h - one translated flow: its tuples, its life, how it ends. Owns the fo_sessions4, fo_replies4 and fo_expiry maps.
 *
 * A session is one entry of fo_sessions4, keyed by the tuple that the inside uses. fo_replies4 is its index by the tuple that
 * the outside uses; it says whose the reply is, and carries a copy of the session's life so that a reply needs one lookup.
 *
 * Whoever wants to make, end or reuse an entry must first win its life word by compare-and-swap to SESSION_CLAIMED; a packet
 * that refreshes a session does so by compare-and-swap too. So a session that has just seen a packet cannot be collected, and
 * no two CPUs can hand out one outside port twice.
 *
 * Expiry needs no process and no timer. At access an expired session is as good as none. For its memory, fo_expiry holds one
 * token for each entry of fo_sessions4: whoever makes a session looks at two tokens, drops what has ended and puts the rest
 * back, so that collecting keeps pace with making.
 */
#ifndef FLYOVER_SESSION_H
#define FLYOVER_SESSION_H

#include "kernel.h"
#include "pkt.h"

/* Set by the loader; the sizes of the three maps are one number. */
#define SESSIONS_DEFAULT 131072

/* Seconds without a packet from inside after which a session has expired (RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2). */
const volatile __u32 timeout_tcp_established = 7440;
const volatile __u32 timeout_tcp_transitory = 240;
const volatile __u32 timeout_tcp_closed = 15;
const volatile __u32 timeout_udp = 300;
const volatile __u32 timeout_icmp = 60;

enum session_state {
	SESSION_DEAD,	 /* ended; the entry waits for its token, or for its flow to come back */
	SESSION_CLAIMED, /* one CPU is making or ending it */
	SESSION_OPENING, /* TCP: no reply yet */
	SESSION_ESTABLISHED,
	SESSION_FIN_OUT, /* TCP: the inside has closed */
	SESSION_FIN_IN,	 /* TCP: the outside has closed */
	SESSION_RESET,	 /* TCP: one side has sent RST; kept, since the RST is not proven (RFC 7857 section 2.2) */
	SESSION_CLOSED,	 /* TCP: both have closed */
};

/* State and age in one word, so that one compare-and-swap changes both. */
struct session_life {
	__u32 seen; /* last packet from inside, seconds of CLOCK_MONOTONIC */
	enum session_state state;
} __attribute__((aligned(8)));
_Static_assert(sizeof(struct session_life) == sizeof(__u64), "one word");

/* The flow as the inside sees it. ICMP queries: the identifier is inside_port, remote_port is 0. */
struct session4_key {
	__u8 inside[4];
	__u8 remote[4];
	__be16 inside_port;
	__be16 remote_port;
	__u8 proto;
	__u8 pad[3];
};
_Static_assert(sizeof(struct session4_key) == 16, "no hidden padding: the key is hashed as bytes");

struct session4_entry {
	struct session_life life;
	__u8 outside[4];  /* translated source address */
	__u8 next_hop[4]; /* towards the remote; refreshed with seen. 0: not known */
	__u32 uplink;	  /* ifindex */
	__be16 outside_port;
	__u16 mtu; /* of the uplink, bytes; refreshed with seen */
};
_Static_assert(sizeof(struct session4_entry) == 24, "no hidden padding");

/* The flow as the outside sees it, from the reply's point of view. */
struct reply4_key {
	__u8 remote[4];
	__u8 outside[4];
	__be16 remote_port;
	__be16 outside_port;
	__u8 proto;
	__u8 pad[3];
};
_Static_assert(sizeof(struct reply4_key) == 16, "no hidden padding: the key is hashed as bytes");

struct reply4_entry {
	struct session_life life; /* copy of the session's; SESSION_CLAIMED while the entry changes hands */
	__u8 inside[4];
	__u32 endpoint; /* ifindex of the host's end */
	__be16 inside_port;
	__u8 pad[6];
};
_Static_assert(sizeof(struct reply4_entry) == 24, "no hidden padding");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(key, struct session4_key);
	__type(value, struct session4_entry);
} fo_sessions4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(key, struct reply4_key);
	__type(value, struct reply4_entry);
} fo_replies4 SEC(".maps");

/* One token for each entry of fo_sessions4, oldest look first. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(value, struct session4_key);
} fo_expiry SEC(".maps");

static __always_inline __u32 session_now(void)
{
	return bpf_ktime_get_coarse_ns() / 1000000000ULL;
}

/* Seconds that a session of proto may be silent in state. */
static __always_inline __u32 session_timeout(__u8 proto, enum session_state state)
{
	if (proto == IPPROTO_UDP)
		return timeout_udp;
	if (proto == IPPROTO_ICMP)
		return timeout_icmp;
	if (state == SESSION_ESTABLISHED)
		return timeout_tcp_established;
	return state == SESSION_CLOSED ? timeout_tcp_closed : timeout_tcp_transitory;
}

/* May a packet use the session? */
static __always_inline bool session_is_live(struct session_life life, __u8 proto, __u32 now)
{
	/* Another CPU may have seen a packet after our clock was read: its age is below zero. */
	return life.state > SESSION_CLAIMED && (__s32)(now - life.seen) <= (__s32)session_timeout(proto, life.state);
}

/* May the entry be ended or reused? Not the opposite of live: a claimed entry is neither. */
static __always_inline bool session_is_over(struct session_life life, __u8 proto, __u32 now)
{
	return life.state != SESSION_CLAIMED && !session_is_live(life, proto, now);
}

/* The state after a TCP packet with these flags. A pure function; what it says of RST is as careful as RFC 7857 asks. */
static __always_inline enum session_state session_next(enum session_state state, __u8 flags, bool from_inside)
{
	enum session_state mine = from_inside ? SESSION_FIN_OUT : SESSION_FIN_IN;

	if (state == SESSION_RESET && !from_inside) /* the outside cannot prolong what it has reset */
		return state;
	if (flags & TCP_RST)
		return state == SESSION_CLOSED ? state : SESSION_RESET;
	if (flags & TCP_SYN) {
		if (from_inside) /* the same tuple again, after its last connection has ended */
			return state >= SESSION_FIN_OUT ? SESSION_OPENING : state;
		return state == SESSION_OPENING ? SESSION_ESTABLISHED : state;
	}
	if (flags & TCP_FIN) {
		if (state == SESSION_FIN_OUT || state == SESSION_FIN_IN)
			return state == mine ? state : SESSION_CLOSED;
		return state == SESSION_CLOSED ? state : mine;
	}
	if (state == SESSION_OPENING && !from_inside && (flags & TCP_ACK)) /* picked up in the middle of a connection */
		return SESSION_ESTABLISHED;
	return state == SESSION_RESET && from_inside ? SESSION_ESTABLISHED : state;
}

static __always_inline __u64 session_life_word(struct session_life life)
{
	return (__u64)life.state << 32 | life.seen;
}

static __always_inline struct session_life session_life_load(const struct session_life *life)
{
	__u64 word = READ_ONCE(*(const __u64 *)life);

	return (struct session_life){ .seen = (__u32)word, .state = word >> 32 };
}

/* An exchange, for its barrier: whoever sees the new life sees all that was written before it. */
static __always_inline void session_life_store(struct session_life *life, struct session_life v)
{
	__sync_lock_test_and_set((__u64 *)life, session_life_word(v));
}

/* Changes *life from was to becomes, unless another CPU was first. */
static __always_inline bool session_life_swap(struct session_life *life, struct session_life was, struct session_life becomes)
{
	__u64 old = session_life_word(was);

	return __sync_val_compare_and_swap((__u64 *)life, old, session_life_word(becomes)) == old;
}

static __always_inline bool session_claim(struct session_life *life, struct session_life was)
{
	return was.state != SESSION_CLAIMED &&
	       session_life_swap(life, was, (struct session_life){ .seen = was.seen, .state = SESSION_CLAIMED });
}

static __always_inline struct session4_key session4_key_of(const struct pkt *p)
{
	struct session4_key key = {
		.inside_port = p->sport,
		.remote_port = p->dport,
		.proto = p->proto,
	};

	addr4_store(key.inside, p->src);
	addr4_store(key.remote, p->dst);
	return key;
}

/* The key of a packet that comes from outside. */
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

static __always_inline struct reply4_key session4_reply_key(const struct session4_key *key, const struct session4_entry *s)
{
	struct reply4_key reply = {
		.remote_port = key->remote_port,
		.outside_port = s->outside_port,
		.proto = key->proto,
	};

	addr4_store(reply.remote, addr4_load(key->remote));
	addr4_store(reply.outside, addr4_load(s->outside));
	return reply;
}

static __always_inline struct session4_key reply4_session_key(const struct reply4_key *key, const struct reply4_entry *r)
{
	struct session4_key session = {
		.inside_port = r->inside_port,
		.remote_port = key->remote_port,
		.proto = key->proto,
	};

	addr4_store(session.inside, addr4_load(r->inside));
	addr4_store(session.remote, addr4_load(key->remote));
	return session;
}

/* Is r the index entry of the session key? It may have gone to another one after the session had ended. */
static __always_inline bool reply4_belongs(const struct reply4_entry *r, const struct session4_key *key)
{
	return addr4_load(r->inside) == addr4_load(key->inside) && r->inside_port == key->inside_port;
}

/*
 * Brings the session's index entry up to date: the copy of its life, and, unless endpoint is 0, where its inside is now. An
 * entry that changes hands meanwhile keeps what its next owner says.
 */
static __always_inline void session4_publish(const struct session4_key *key, const struct session4_entry *s,
					     struct session_life life, __u32 endpoint)
{
	struct reply4_key reply_key = session4_reply_key(key, s);
	struct reply4_entry *r = bpf_map_lookup_elem(&fo_replies4, &reply_key);
	struct session_life was;

	if (!r)
		return;
	was = session_life_load(&r->life);
	if (was.state == SESSION_CLAIMED || !reply4_belongs(r, key))
		return;
	if (endpoint)
		r->endpoint = endpoint;
	session_life_swap(&r->life, was, life);
}

/*
 * Notes a packet of a live session, from the inside behind endpoint or, if that is 0, from outside. False: the session ended
 * under our hands. Written at most once a second, and at a change of state; only what comes from inside keeps a session alive
 * (RFC 4787 REQ-6), and a new state gets its whole time.
 */
static __always_inline bool session4_touch(const struct session4_key *key, struct session4_entry *s, struct session_life was,
					   __u8 flags, __u32 endpoint, __u32 now)
{
	struct session_life becomes = was;

	if (was.state <= SESSION_CLAIMED)
		return false;
	if (key->proto == IPPROTO_TCP)
		becomes.state = session_next(was.state, flags, endpoint);
	if ((endpoint || becomes.state != was.state) && (__s32)(now - was.seen) > 0)
		becomes.seen = now;
	if (becomes.state == was.state && becomes.seen == was.seen)
		return true;
	if (!session_life_swap(&s->life, was, becomes))
		/* Lost to another packet of the same session, which noted as much, or to its end. */
		return session_is_live(session_life_load(&s->life), key->proto, now);
	session4_publish(key, s, becomes, endpoint);
	return true;
}

/* Ends the session's index entry, unless it is another session's by now. */
static __always_inline void session4_unindex(const struct session4_key *key, const struct session4_entry *s)
{
	struct reply4_key reply_key = session4_reply_key(key, s);
	struct reply4_entry *r = bpf_map_lookup_elem(&fo_replies4, &reply_key);

	if (!r || !reply4_belongs(r, key))
		return;
	/* Only a packet that publishes a life can be in between, and it does so once. */
	for (int i = 0; i < 4; i++) {
		if (!session_claim(&r->life, session_life_load(&r->life)))
			continue;
		bpf_map_delete_elem(&fo_replies4, &reply_key);
		return;
	}
}

/*
 * Looks at the oldest token: ends its session if that is over, else puts the token back. 0: there was none. A global function,
 * so that the verifier reads it once and not once for each turn of a loop.
 */
__noinline int session4_collect(__u32 now)
{
	struct session4_key key;
	struct session4_entry *s;
	struct session_life life;

	if (bpf_map_pop_elem(&fo_expiry, &key))
		return 0;
	s = bpf_map_lookup_elem(&fo_sessions4, &key);
	if (!s)
		return 1;
	life = session_life_load(&s->life);
	if (!session_is_over(life, key.proto, now) || !session_claim(&s->life, life)) {
		bpf_map_push_elem(&fo_expiry, &key, 0);
		return 1;
	}
	session4_unindex(&key, s);
	bpf_map_delete_elem(&fo_sessions4, &key);
	return 1;
}

#endif
