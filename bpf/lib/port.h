/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * port.h - which outside port does a session or a mapping get? The source port if it is free, else the next free one of a
 * full-cycle stride over the range whose start and step come from a keyed hash (RFC 6056): no clustering, and every port has its
 * turn. A session claims it by inserting into fo_replies, a mapping by the port's bit; either is test and claim in one.
 */
#ifndef FLYOVER_PORT_H
#define FLYOVER_PORT_H

#include "exhausted.h"
#include "family.h"
#include "kernel.h"
#include "session.h"

/* Ports tried before what is over is collected; and more than there are. */
#define PORT_TRIES 128
#define PORT_ALL (1 << 17)

/* The family's part of struct bpf_sock_tuple, by whose length it is known. */
struct port_socket {
	__u8 src[ADDR_LEN];
	__u8 dst[ADDR_LEN];
	__be16 sport;
	__be16 dport;
} __attribute__((aligned(4)));

/* What is looked for, where the search is, and what it has no room for on the stack. */
struct port_search {
	struct reply_key key; /* but for the outside port, which is the result */
	struct reply_entry fresh;
	__u32 uplink; /* ifindex */
	__u32 now;    /* seconds */
	__u16 first;  /* bounds of the range, host byte order, both included */
	__u16 last;
	__u32 at; /* of the stride */
	__u32 step;
	__u32 mask;
	__u32 words; /* of the bitmap that have been looked through */
	__u32 hold;  /* of whose sessions are over, as session_is_over() */
	__u64 tried; /* ports of the word at hand, a bit for each */
	bool mapped; /* for a mapping, which no other inside may share the port with */
	bool found;
	__u8 pad[6];
	struct session_key owner;  /* of a port */
	struct port_socket socket; /* of the host */
	__u32 pad_end;
};

/* The search of this CPU, apart from the stack, which has no room for it. One program runs at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct port_search);
} fo_search SEC(".maps");

static __always_inline struct port_search *port_search_here(void)
{
	__u32 index = 0;

	return bpf_map_lookup_elem(&fo_search, &index);
}

static __always_inline __u32 port_space(const struct port_search *f)
{
	if (f->mapped)
		return exhausted_space(addr_load(f->key.outside), 0, 0, f->key.proto);
	return exhausted_space(addr_load(f->key.outside), addr_load(f->key.remote), f->key.remote_port, f->key.proto);
}

/* A port of the host's own sockets, listening or connected to this remote, is never used (CVE-2021-3773). */
static __always_inline bool port_is_host_socket(struct __sk_buff *skb, const struct reply_key *key)
{
	struct port_search *f = port_search_here();
	struct bpf_sock *sk = NULL;

	if (!f)
		return true;
	addr_store_words(f->socket.src, addr_load(key->remote));
	addr_store_words(f->socket.dst, addr_load(key->outside));
	f->socket.sport = key->remote_port;
	f->socket.dport = key->outside_port;
	if (key->proto == IPPROTO_TCP)
		sk = bpf_skc_lookup_tcp(skb, (void *)&f->socket, sizeof(f->socket), BPF_F_CURRENT_NETNS, 0);
	else if (key->proto == IPPROTO_UDP)
		sk = bpf_sk_lookup_udp(skb, (void *)&f->socket, sizeof(f->socket), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	bpf_sk_release(sk);
	return true;
}

/*
 * Is the port of the tuple nobody's? Ends its session if that is over: closed and expired ones are taken over in place. The copy of
 * the session's life is asked first, since most are live.
 */
static __always_inline bool port_vacate(struct port_search *f)
{
	struct reply_entry *r = bpf_map_lookup_elem(&fo_replies, &f->key);
	struct session_entry *s;
	struct session_life life;

	if (!r)
		return true;
	if (!session_is_over(session_life_load(&r->life), f->key.proto, f->now, f->hold))
		return false;
	f->owner =
		(struct session_key){ .remote_port = f->key.remote_port, .inside_port = r->inside_port, .proto = f->key.proto };
	addr_store(f->owner.inside, addr_load(r->inside));
	addr_store(f->owner.remote, addr_load(f->key.remote));
	s = bpf_map_lookup_elem(&fo_sessions, &f->owner);
	if (!s)
		return false;
	life = session_life_load(&s->life);
	return life.state > SESSION_CLAIMED && session_is_over(life, f->key.proto, f->now, f->hold) &&
	       s->outside_port == f->key.outside_port && session_bury(&f->owner, s, life);
}

struct port_turn {
	struct __sk_buff *skb;
	struct port_search *f;
	struct bitmap_entry *b; /* the ports that mappings have; NULL: none, and it is for a session */
};

/* Has a mapping f->key's port? Here and below, what is read anew needs no room on the stack. */
static __always_inline bool port_is_mapped(struct port_turn *t)
{
	struct bitmap_entry *b = READ_ONCE(t->b);

	return b && bitmap_has(b, bpf_ntohs(READ_ONCE(t->f->key.outside_port)));
}

static __always_inline bool port_claim(struct port_turn *t)
{
	struct bitmap_entry *b = READ_ONCE(t->b);

	return b && bitmap_claim(b, bpf_ntohs(READ_ONCE(t->f->key.outside_port)), t->f->uplink);
}

/* Claims f->key's port for the mapping or session. Looks first, since that is cheaper than to try. */
static __always_inline bool port_try(struct port_turn *t)
{
	struct port_search *f = t->f;

	if (!f->mapped && !port_vacate(f))
		return false;
	if (port_is_mapped(t) || port_is_host_socket(t->skb, &f->key))
		return false;
	if (f->mapped)
		return port_claim(t);
	return !bpf_map_update_elem(&fo_replies, &f->key, &f->fresh, BPF_NOEXIST);
}

/* First the source port, and then step by step the stride. What is past the range, up to a power of two, is folded into it. */
static long port_step(__u32 turn, struct port_turn *t)
{
	struct port_search *f = t->f;
	__u32 span = f->last - f->first + 1, wanted = bpf_ntohs(f->fresh.inside_port);

	if (turn) {
		f->at = (f->at + f->step) & f->mask;
		wanted = f->first + (f->at < span ? f->at : f->at - span);
	} else if (wanted < f->first || wanted > f->last) {
		return 0;
	}
	f->key.outside_port = bpf_htons(wanted);
	if (!port_try(t))
		return 0;
	f->found = true;
	return 1;
}

/* Begins a stride and takes no more than so many steps of it. */
static __always_inline void port_walk(struct port_turn *turn, __u32 most)
{
	struct port_search *f = turn->f;
	__u32 mask = f->last - f->first;

	/* The next power of two, less one: any odd step visits all its residues. */
	mask |= mask >> 1;
	mask |= mask >> 2;
	mask |= mask >> 4;
	mask |= mask >> 8;
	f->mask = mask;
	f->at = port_hash(addr_fold(addr_load(f->fresh.inside)), addr_fold(addr_load(f->key.remote)),
			  (__u32)f->fresh.inside_port << 16 | f->key.remote_port, f->key.proto);
	f->step = (f->at >> 16) | 1;
	bpf_loop(most < mask + 2 ? most : mask + 2, port_step, turn, 0);
}

/* Tries the next port that is free by the bitmap, or goes on to the next word. The range may end within its first and last word. */
static long port_pick_step(__attribute__((unused)) __u32 turn, struct port_turn *t)
{
	struct port_search *f = t->f;
	__u32 first = f->first / 64, words = f->last / 64 - first + 1;
	__u32 word = first + (f->at / 64 + f->words) % words, port;
	__u64 free = t->b ? bitmap_free(t->b, word) & ~f->tried : 0;

	if (!free) {
		f->tried = 0;
		f->words++;
		return f->words >= words;
	}
	port = word * 64 + bitmap_lowest(free);
	f->tried |= free & -free;
	if (port < f->first || port > f->last)
		return 0;
	f->key.outside_port = bpf_htons(port);
	if (!port_try(t))
		return 0;
	f->found = true;
	return 1;
}

/* Tries every port of a mapping's space that is free by the bitmap, from where the stride begins. */
static __always_inline void port_pick(struct port_turn *turn)
{
	turn->f->words = 0;
	turn->f->tried = 0;
	bpf_loop(PORT_ALL, port_pick_step, turn, 0);
}

/* Of the space, which a mapping makes if it is missing. Not inlined, to have its own stack. */
static __noinline struct bitmap_entry *port_bitmap(const struct port_search *f)
{
	addr_t outside = addr_load(f->key.outside);

	return f->mapped ? bitmap_make(outside, f->key.proto) : bitmap_lookup(outside, f->key.proto);
}

/*
 * Finds a port for this CPU's search and claims it: 1, or 0 if there is none, or none soon. -1: there was none lately, and it is not
 * looked for. With all, every one is tried: of a mapping's space each that is free, of a session's one after the other. A global function
 * for the verifier's sake, as session_collect().
 */
__noinline int port_find(struct __sk_buff *skb, bool all)
{
	struct port_search *f = port_search_here();
	struct port_turn turn = { .skb = skb, .f = f };
	__u32 now = usage_now(), space, range;

	if (!f)
		return 0;
	space = port_space(f);
	range = f->first << 16 | f->last; /* % 4: of the last port */
	if (exhausted_is(space, range, now))
		return -1;
	turn.b = port_bitmap(f);
	if (f->mapped && !turn.b) /* for want of memory */
		return -1;
	f->found = false;
	f->hold = all ? port_hold | SESSION_PRESSED : port_hold;
	port_walk(&turn, !all ? PORT_TRIES : f->mapped ? 1 : PORT_ALL);
	if (all && f->mapped && !f->found)
		port_pick(&turn);
	if (all && !f->found)
		exhausted_note(space, range, now);
	return f->found;
}

#endif
