/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * life.h - is this session still good? State and age are one word. Whoever wants to make, end or reuse an entry must first win
 * the word by compare-and-swap to SESSION_CLAIMED; a packet that refreshes a session does so by compare-and-swap
 * too. So a session that has just seen a packet cannot be collected.
 */
#ifndef FLYOVER_LIFE_H
#define FLYOVER_LIFE_H

#include "kernel.h"
#include "tcp.h"

/* Seconds without a packet from inside after which a session has expired (RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2). */
const volatile __u32 timeout_tcp_established = 7440;
const volatile __u32 timeout_tcp_transitory = 240;
const volatile __u32 timeout_tcp_closed = 10;
const volatile __u32 timeout_udp = 300;
const volatile __u32 timeout_icmp = 60;

/* Seconds that the port of an expired session is kept from others (RFC 6888 REQ-8), unless the table is full. */
const volatile __u32 port_hold = 120;

/* State and age in one word, so that one compare-and-swap changes both. */
struct session_life {
	__u32 seen; /* last packet from inside, seconds of CLOCK_MONOTONIC */
	enum session_state state;
} __attribute__((aligned(8)));
_Static_assert(sizeof(struct session_life) == sizeof(__u64), "one word");

static __always_inline __u32 session_now(void)
{
	return bpf_ktime_get_coarse_ns() / 1000000000ULL;
}

/* Seconds that a session of proto may be silent in state. */
static __always_inline __u32 session_timeout(__u8 proto, enum session_state state)
{
	if (proto == IPPROTO_UDP)
		return timeout_udp;
	if (proto == PROTO_ICMP)
		return timeout_icmp;
	if (state >= SESSION_ESTABLISHED && state <= SESSION_FIN_IN) /* half closed is not closing (RFC 5382 section 5) */
		return timeout_tcp_established;
	return state == SESSION_CLOSED ? timeout_tcp_closed : timeout_tcp_transitory;
}

/* Another CPU may have seen a packet after our clock was read: the age is below zero then. */
static __always_inline bool session_is_within(struct session_life life, __u8 proto, __u32 now, __u32 longer)
{
	return (__s32)(now - life.seen) <= (__s32)(session_timeout(proto, life.state) + longer);
}

/* May a packet use the session? */
static __always_inline bool session_is_live(struct session_life life, __u8 proto, __u32 now)
{
	return life.state > SESSION_CLAIMED && session_is_within(life, proto, now, 0);
}

/* With a hold time: something has run out, so that what has closed properly goes at once, without its last seconds. */
#define SESSION_PRESSED (1U << 31)

/* May the entry go to others? Not the opposite of live: a claimed entry is neither, nor is one in its hold time. */
static __always_inline bool session_is_over(struct session_life life, __u8 proto, __u32 now, __u32 hold)
{
	if (life.state == SESSION_CLOSED && (hold & SESSION_PRESSED))
		return true;
	hold = life.state == SESSION_CLOSED ? 0 : hold & ~SESSION_PRESSED; /* proven: its port need not be kept */
	return life.state == SESSION_DEAD || (life.state > SESSION_CLAIMED && !session_is_within(life, proto, now, hold));
}

static __always_inline __u64 session_life_word(struct session_life life)
{
	return (__u64)life.state << 32 | life.seen;
}

static __always_inline struct session_life session_life_of(__u64 word)
{
	return (struct session_life){ .seen = (__u32)word, .state = word >> 32 };
}

static __always_inline struct session_life session_life_load(const struct session_life *life)
{
	return session_life_of(READ_ONCE(*(const __u64 *)life));
}

/* An exchange, for its barrier: whoever sees the new life sees all that was written before it. */
static __always_inline void session_life_store(struct session_life *life, struct session_life v)
{
	__sync_lock_test_and_set((__u64 *)life, session_life_word(v));
}

/* Stores the life of one of so many sessions that share it, unless what is there lasts longer and may be another's. */
static __always_inline void session_life_share(struct session_life *life, struct session_life v, __u8 proto, __u32 sessions)
{
	struct session_life was = session_life_load(life);
	__u32 ends = was.seen + session_timeout(proto, was.state);

	if (sessions > 1 && (__s32)(ends - (v.seen + session_timeout(proto, v.state))) > 0)
		return;
	session_life_store(life, v);
}

/* Changes *life from was to becomes, unless another CPU was first. */
static __always_inline bool session_life_swap(struct session_life *life, struct session_life was, struct session_life becomes)
{
	__u64 old = session_life_word(was);

	return __sync_val_compare_and_swap((__u64 *)life, old, session_life_word(becomes)) == old;
}

/* Takes the entry out of use, for the caller alone. */
static __always_inline bool session_life_claim(struct session_life *life, struct session_life was)
{
	return session_life_swap(life, was, (struct session_life){ .seen = was.seen, .state = SESSION_CLAIMED });
}

/*
 * Entries that several sessions share count them. Nobody gets hold of an entry once its count is 0: it is about to go.
 */
static __always_inline bool share_get(__u32 *sessions)
{
	for (int i = 0; i < 4; i++) {
		__u32 count = READ_ONCE(*sessions);

		if (!count)
			return false;
		if (__sync_val_compare_and_swap(sessions, count, count + 1) == count)
			return true;
	}
	return false;
}

/* True: it was the last, and the entry is the caller's to delete. */
static __always_inline bool share_put(__u32 *sessions)
{
	return __sync_fetch_and_sub(sessions, 1) == 1;
}

#endif
