/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcp.h - what does a TCP segment do to its session? Pure functions. What the inside sends is its own to end; what comes from
 * outside may be forged by somebody who sees nothing, so it changes a session only if it stands where the inside expects it
 * (RFC 5961 section 3, RFC 7857 section 2.2). No segment is dropped for that: the inside judges for itself.
 */
#ifndef FLYOVER_TCP_H
#define FLYOVER_TCP_H

#include "kernel.h"
#include "pkt.h"

/* Sequence numbers this far ahead of the inside's last acknowledgment count as in its window, and those a maximal segment behind. */
#define TCP_AHEAD (1 << 20)
#define TCP_BEHIND (1 << 16)

enum session_state {
	SESSION_DEAD,	 /* ended and without a port; the entry waits for its token, or for its flow to come back */
	SESSION_CLAIMED, /* one CPU is making or ending it */
	SESSION_OPENING, /* TCP: the inside has sent SYN */
	SESSION_JOINED,	 /* TCP: begun in the middle of a connection; the outside has not answered yet */
	SESSION_ESTABLISHED,
	SESSION_FIN_OUT,  /* TCP: the inside has closed */
	SESSION_FIN_IN,	  /* TCP: the outside has closed */
	SESSION_LAST_OUT, /* TCP: both have closed, the outside last: the inside has to acknowledge it */
	SESSION_LAST_IN,  /* TCP: both have closed, the inside last */
	SESSION_RESET,	  /* TCP: RST, not proven (RFC 7857 section 2.2), or the inside's own */
	SESSION_CLOSED,	  /* TCP: closed and acknowledged, or the outside has proven its RST */
};

/* A segment, and the session's mark: what it is held against. */
struct tcp_segment {
	__u32 seq;
	__u32 ack;
	__u8 flags;
	/*
	 * SESSION_OPENING: the acknowledgment number that answers the inside's SYN. After that: the highest that the inside has
	 * sent, which is the sequence number that it expects next.
	 */
	__u32 mark;
};

static __always_inline enum session_state tcp_begins(__u8 flags)
{
	return (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN ? SESSION_OPENING : SESSION_JOINED;
}

static __always_inline __u32 tcp_first_mark(__u32 seq, __u32 ack, __u8 flags)
{
	return tcp_begins(flags) == SESSION_OPENING ? seq + 1 : ack;
}

/* The state after a segment from inside. */
static __always_inline enum session_state tcp_next_out(enum session_state state, __u8 flags)
{
	if (flags & TCP_RST)
		return state == SESSION_CLOSED ? state : SESSION_RESET;
	if (flags & TCP_SYN) /* alone: the same tuple again, after its last connection has ended */
		return state >= SESSION_FIN_OUT && !(flags & TCP_ACK) ? SESSION_OPENING : state;
	if (flags & TCP_FIN) {
		if (state == SESSION_FIN_IN)
			return SESSION_LAST_IN;
		return state >= SESSION_LAST_OUT ? state : SESSION_FIN_OUT;
	}
	if (state == SESSION_LAST_OUT && (flags & TCP_ACK))
		return SESSION_CLOSED;
	return state == SESSION_RESET ? SESSION_ESTABLISHED : state; /* it lives on after all */
}

/* The mark after a segment from inside; state is the one before it. */
static __always_inline __u32 tcp_mark_out(enum session_state state, const struct tcp_segment *t)
{
	if ((t->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return state == SESSION_OPENING || state >= SESSION_FIN_OUT ? t->seq + 1 : t->mark;
	if (state == SESSION_OPENING || !(t->flags & TCP_ACK) || (t->flags & TCP_RST))
		return t->mark;
	return (__s32)(t->ack - t->mark) > 0 ? t->ack : t->mark;
}

static __always_inline bool tcp_is_near(const struct tcp_segment *t)
{
	return t->seq - t->mark + TCP_BEHIND < TCP_AHEAD + TCP_BEHIND;
}

/* Does the segment answer the inside's SYN? */
static __always_inline bool tcp_answers(const struct tcp_segment *t)
{
	return (t->flags & TCP_ACK) && t->ack == t->mark;
}

static __always_inline enum session_state tcp_reset_in(enum session_state state, const struct tcp_segment *t)
{
	if (state == SESSION_OPENING)
		return tcp_answers(t) ? SESSION_CLOSED : state;
	if (t->seq == t->mark)
		return SESSION_CLOSED;
	return t->seq - t->mark < TCP_AHEAD && state != SESSION_CLOSED ? SESSION_RESET : state;
}

/* The state after a segment from outside. */
static __always_inline enum session_state tcp_next_in(enum session_state state, const struct tcp_segment *t)
{
	if (t->flags & TCP_RST)
		return tcp_reset_in(state, t);
	if (state == SESSION_OPENING)
		return (t->flags & TCP_SYN) && tcp_answers(t) ? SESSION_ESTABLISHED : state;
	if ((t->flags & TCP_SYN) || !tcp_is_near(t) || state >= SESSION_RESET)
		return state;
	if (t->flags & TCP_FIN) {
		if (state == SESSION_FIN_OUT)
			return SESSION_LAST_OUT;
		return state >= SESSION_LAST_OUT ? state : SESSION_FIN_IN;
	}
	if (state == SESSION_LAST_IN && (t->flags & TCP_ACK))
		return SESSION_CLOSED;
	return state == SESSION_JOINED ? SESSION_ESTABLISHED : state;
}

/* The mark after a segment from outside that took the session from one state to another. */
static __always_inline __u32 tcp_mark_in(enum session_state from, enum session_state to, const struct tcp_segment *t)
{
	return from == SESSION_OPENING && to == SESSION_ESTABLISHED ? t->seq + 1 : t->mark;
}

#endif
