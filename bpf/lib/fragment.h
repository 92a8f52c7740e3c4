/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fragment.h - which datagram does this fragment belong to, and whose is it (RFC 4787 REQ-14)? Only the first fragment has ports,
 * so it decides for the others: what is translated how is noted for the datagram. Fragments pass in order: one that comes before its
 * turn is held, and sent through the program again when it is its turn; one that has octets which have passed is dropped, with all
 * that come after it (RFC 5722 of IPv6). Owns the fo_datagrams, fo_held, fo_datagram_ids and fo_fragment maps.
 *
 * All memory is bounded: when it runs out, the oldest datagram, or what is held of it, is lost, and nothing else.
 */
#ifndef FLYOVER_FRAGMENT_H
#define FLYOVER_FRAGMENT_H

#include "exhausted.h"
#include "kernel.h"
#include "pkt.h"
#include "reason.h"

/* Seconds that a datagram's fragments may take (RFC 1122 section 3.3.2 asks for 60 to 120, Linux gives 30). */
#define FRAGMENT_TIMEOUT 30
#define DATAGRAMS_MAX 4096

struct datagram_key {
	ADDRESS(src);
	ADDRESS(dst);
	__u32 uplink; /* ifindex that it came by; 0: from inside */
	__be32 id;    /* of IPv4 16 bits, in the first two octets */
	__u8 proto;   /* IPv6: 0, which one fragment has there is another's to say (RFC 8200 section 4.5) */
	PADDING(pad, 3, 7);
};
_Static_assert(sizeof(struct datagram_key) == 2 * ADDR_LEN + (FAMILY == 6 ? 16 : 12),
	       "no hidden padding: the key is hashed as bytes");

enum datagram_state {
	DATAGRAM_WAITING,    /* the first fragment is not there yet */
	DATAGRAM_TRANSLATED, /* by its session */
	DATAGRAM_HOST,	     /* not ours: the host's */
	DATAGRAM_REFUSED,    /* dropped, as its first fragment was */
};

struct datagram_entry {
	__u32 seen; /* seconds of CLOCK_MONOTONIC */
	enum datagram_state state;
	ADDRESS(addr);	   /* outwards the new source, inwards the new destination */
	ADDRESS(next_hop); /* outwards */
	__u32 ifindex;	   /* outwards the uplink, inwards the host's end of the endpoint */
	__be32 id;	   /* outwards the new identification: those of two insides may be the same (RFC 6864 section 5.3.1) */
	__u32 mtu;	   /* outwards, bytes */
	__u32 next;	   /* octets of the datagram that have passed */
	__u32 held;	   /* does something wait for its turn? */
	__u32 pad;
};
_Static_assert(sizeof(struct datagram_entry) == 32 + 2 * ADDR_LEN, "no hidden padding");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DATAGRAMS_MAX);
	__type(key, struct datagram_key);
	__type(value, struct datagram_entry);
} fo_datagrams SEC(".maps");

/* Fragments are held in sets of ways, a set for each datagram; the largest datagram has 45 fragments of 1500 octets. */
#define HELD_SETS 16
#define HELD_WAYS 64
#define HELD_BYTES PKT_COPY

enum held_state {
	HELD_FREE,
	HELD_BUSY, /* one CPU is filling or emptying it */
	HELD_FULL,
};

struct held_entry {
	enum held_state state;
	__u32 at; /* seconds of CLOCK_MONOTONIC */
	struct datagram_key key;
	__u32 ifindex; /* that it came by */
	__u32 bytes;
	__u32 offset; /* in the datagram, octets */
	__u8 frame[HELD_BYTES];
};

/* Index: set * HELD_WAYS + way. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HELD_SETS *HELD_WAYS);
	__type(key, __u32);
	__type(value, struct held_entry);
} fo_held SEC(".maps");

/* Index 0: how many identifications have been given. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} fo_datagram_ids SEC(".maps");

/* What this CPU is at, apart from the stack, which has no room for it. */
struct fragment_work {
	struct datagram_key key;
	struct datagram_entry fate; /* of the datagram */
	struct held_entry first;    /* the packet at hand, while those held are sent through */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fragment_work);
} fo_fragment SEC(".maps");

static __always_inline struct fragment_work *fragment_here(void)
{
	__u32 index = 0;

	return bpf_map_lookup_elem(&fo_fragment, &index);
}

static __always_inline __u32 fragment_now(void)
{
	return bpf_ktime_get_coarse_ns() / 1000000000ULL;
}

/* uplink: the ifindex that the packet came by, 0 from inside. */
static __always_inline void datagram_key_fill(struct datagram_key *key, const struct pkt *p, __u32 uplink)
{
	*key = (struct datagram_key){ .uplink = uplink, .id = p->h->id, .proto = FAMILY == 6 ? 0 : p->h->proto };
	addr_store(key->src, p->h->src);
	addr_store(key->dst, p->h->dst);
}

static __always_inline struct datagram_entry *datagram_lookup(const struct datagram_key *key)
{
	struct datagram_entry *d = bpf_map_lookup_elem(&fo_datagrams, key);

	return d && fragment_now() - d->seen <= FRAGMENT_TIMEOUT ? d : NULL;
}

/* Identifications are given in turn, each once in 65536, of IPv6 in 2^31, in an order that cannot be told from outside. */
static __always_inline __be32 fragment_next_id(void)
{
	__u32 index = 0;
	__u64 *given = bpf_map_lookup_elem(&fo_datagram_ids, &index);
	__u64 turn = given ? __sync_fetch_and_add(given, 1) : 0;

	/* Of IPv6 31 bits: whoever hands an identification on has none below 0. */
	return FAMILY == 6 ? (__u32)(turn * 2654435769U + port_secret) & 0x7fffffff : (__u16)(turn * 40503 + port_secret);
}

static __always_inline __u32 held_set(const struct datagram_key *key)
{
	return port_hash(addr_fold(addr_load(key->src)), addr_fold(addr_load(key->dst)), key->uplink, key->id ^ key->proto) %
	       HELD_SETS;
}

static __always_inline bool held_is_of(const struct held_entry *h, const struct datagram_key *key)
{
	return addr_load(h->key.src) == addr_load(key->src) && addr_load(h->key.dst) == addr_load(key->dst) &&
	       h->key.uplink == key->uplink && h->key.id == key->id && h->key.proto == key->proto;
}

/* Octets of the frame to the slot, or false. */
static __always_inline bool held_save(struct __sk_buff *skb, struct held_entry *h)
{
	__u32 bytes = pkt_size(skb->len);

	if (bytes != skb->len)
		return false;
	h->bytes = bytes;
	return !bpf_skb_load_bytes(skb, 0, h->frame, pkt_size(bytes));
}

/* Makes of the packet what was saved. */
static __always_inline bool held_restore(struct __sk_buff *skb, const struct held_entry *h)
{
	__u32 bytes = pkt_size(READ_ONCE(h->bytes));

	return !bpf_skb_change_tail(skb, bytes, 0) &&
	       !bpf_skb_store_bytes(skb, 0, h->frame, pkt_size(bytes), BPF_F_RECOMPUTE_CSUM);
}

struct hold_turn {
	struct __sk_buff *skb;
	struct fragment_work *work;
	__u32 now;
	__u32 offset;
	bool steal; /* take the slot of another datagram, too */
	bool done;
	bool lost; /* somebody's fragment, whose slot was taken */
};

static __always_inline bool held_is_fresh(const struct held_entry *h, __u32 now)
{
	return now - h->at <= FRAGMENT_TIMEOUT;
}

/* Ways are taken by offset, so that the fragments of one datagram seldom meet, and are released about in order. */
static long hold_step(__u32 turn, struct hold_turn *t)
{
	__u32 index = held_set(&t->work->key) * HELD_WAYS + (t->offset / 1024 + turn) % HELD_WAYS;
	struct held_entry *h = bpf_map_lookup_elem(&fo_held, &index);
	enum held_state was;
	bool fresh;

	if (!h)
		return 1;
	was = READ_ONCE(h->state);
	fresh = was == HELD_FULL && held_is_fresh(h, t->now);
	if (was == HELD_BUSY || (fresh && (!t->steal || held_is_of(h, &t->work->key))))
		return 0;
	if (__sync_val_compare_and_swap((__u32 *)&h->state, was, HELD_BUSY) != was)
		return 0;
	t->lost = was == HELD_FULL;
	h->key = t->work->key;
	h->at = t->now;
	h->ifindex = t->skb->ifindex;
	h->offset = t->offset;
	t->done = held_save(t->skb, h);
	__sync_lock_test_and_set((__u32 *)&h->state, t->done ? HELD_FULL : HELD_FREE);
	return 1;
}

/*
 * Keeps a fragment of the datagram at hand that came before its turn. REASON_NONE: it is held, and will be counted when it comes again. A
 * global function, to have its own stack.
 */
__noinline int fragment_hold(struct __sk_buff *skb, __u32 offset, __u32 hook)
{
	struct fragment_work *w = fragment_here();
	struct hold_turn turn = { .skb = skb, .work = w, .now = fragment_now(), .offset = offset };
	struct datagram_entry *d;

	if (!w)
		return DROP_FRAGMENT;
	w->fate = (struct datagram_entry){ .state = DATAGRAM_WAITING, .seen = turn.now };
	d = datagram_lookup(&w->key);
	if (!d && bpf_map_update_elem(&fo_datagrams, &w->key, &w->fate, BPF_NOEXIST)) {
		/* An old one that nobody has taken away, or the first fragment at this moment, on another CPU: that one stays. */
		d = datagram_lookup(&w->key);
		if (!d)
			bpf_map_update_elem(&fo_datagrams, &w->key, &w->fate, BPF_ANY);
	}
	if (d)
		d->held = 1;
	bpf_loop(HELD_WAYS, hold_step, &turn, 0);
	turn.steal = true;
	if (!turn.done)
		bpf_loop(HELD_WAYS, hold_step, &turn, 0);
	if (turn.lost)
		reason_count(skb->len, hook, DROP_FRAGMENT);
	return turn.done ? REASON_NONE : DROP_FRAGMENT;
}

/* Sends a fragment of the datagram that is held through the program again, behind the packet that the program is at. */
static long release_step(__u32 turn, struct hold_turn *t)
{
	__u32 index = held_set(&t->work->key) * HELD_WAYS + turn;
	struct held_entry *h = bpf_map_lookup_elem(&fo_held, &index);

	if (!h)
		return 1;
	if (READ_ONCE(h->state) != HELD_FULL || !held_is_of(h, &t->work->key) || (t->offset && h->offset > t->offset) ||
	    __sync_val_compare_and_swap((__u32 *)&h->state, HELD_FULL, HELD_BUSY) != HELD_FULL)
		return 0;
	if (held_is_fresh(h, t->now) && held_restore(t->skb, h))
		bpf_clone_redirect(t->skb, h->ifindex, BPF_F_INGRESS);
	__sync_lock_test_and_set((__u32 *)&h->state, HELD_FREE);
	return 0;
}

/*
 * Sends what is held of the datagram at hand and begins at offset or before, or all of it if that is 0. The packet is as before then;
 * pointers into it are not. 0: it is lost. Global, as fragment_hold().
 */
__noinline int fragment_release(struct __sk_buff *skb, __u32 offset)
{
	struct fragment_work *w = fragment_here();
	struct hold_turn turn = { .skb = skb, .work = w, .now = fragment_now(), .offset = offset };

	if (!w || !held_save(skb, &w->first))
		return 0;
	bpf_loop(HELD_WAYS, release_step, &turn, 0);
	return held_restore(skb, &w->first);
}

/*
 * Notes the fate of the datagram at hand, whose first fragment this is, and sends after it what has waited for it. 0: the packet is lost.
 * Global, as fragment_hold().
 */
__noinline int fragment_begin(struct __sk_buff *skb)
{
	struct fragment_work *w = fragment_here();
	struct datagram_entry *was;
	bool waited;

	if (!w)
		return 0;
	w->fate.seen = fragment_now();
	was = datagram_lookup(&w->key);
	waited = was && was->state == DATAGRAM_WAITING;
	w->fate.held = waited;
	bpf_map_update_elem(&fo_datagrams, &w->key, &w->fate, BPF_ANY);
	return !waited || fragment_release(skb, w->fate.state == DATAGRAM_TRANSLATED ? w->fate.next : 0);
}

/*
 * Is it the turn of a fragment of the datagram at hand that ends before octet end? REASON_NONE: yes, and what waited for it follows;
 * DROP_FRAGMENT: some of it has passed before, or the packet is lost; -1: not yet. After the last one, which has the highest bit set in
 * end, the datagram is forgotten: its identification may come again. Global, as fragment_hold().
 */
#define FRAGMENT_LAST (1U << 31)

__noinline int fragment_turn(struct __sk_buff *skb, __u32 offset, __u32 end)
{
	struct fragment_work *w = fragment_here();
	struct datagram_entry *d;

	if (!w)
		return DROP_FRAGMENT;
	d = datagram_lookup(&w->key);
	if (!d || READ_ONCE(d->next) < offset)
		return -1;
	if (__sync_val_compare_and_swap(&d->next, offset, end & ~FRAGMENT_LAST) != offset) {
		d->state = DATAGRAM_REFUSED;
		return DROP_FRAGMENT;
	}
	if (end & FRAGMENT_LAST) {
		bpf_map_delete_elem(&fo_datagrams, &w->key);
		return REASON_NONE;
	}
	if (d->held && !fragment_release(skb, end))
		return DROP_FRAGMENT;
	return REASON_NONE;
}

#endif
