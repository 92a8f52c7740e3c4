/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage.h - how much has an endpoint taken of what all share, above all of the translation, and may it take more (RFC 6888 REQ-4)?
 * Owns the fo_usage map.
 */
#ifndef FLYOVER_USAGE_H
#define FLYOVER_USAGE_H

#include "endpoint.h"
#include "kernel.h"
#include "reason.h"

/* Level and time in one word, so that one compare-and-swap changes both. */
struct token_bucket {
	__u32 at;    /* when the level was true, milliseconds of CLOCK_MONOTONIC, modulo 2^32 */
	__u32 level; /* thousandths of a token */
} __attribute__((aligned(8)));

struct usage_entry {
	__u32 sessions;		     /* that hold a port, those included that have expired and are not collected yet */
	__u32 mappings;		     /* outside ports of its own */
	struct token_bucket bucket;  /* new sessions */
	struct token_bucket answers; /* refusals that may be answered */
	struct token_bucket broadcasts;
};
_Static_assert(sizeof(struct usage_entry) == 32, "no hidden padding");

/* Index: endpoint id. Shared by all CPUs, since a limit is one number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENDPOINTS_MAX);
	__type(key, __u32);
	__type(value, struct usage_entry);
} fo_usage SEC(".maps");

/* In place of an endpoint's id: sessions of the host itself, which nothing limits. */
#define USAGE_NOBODY 0xffff

static __always_inline __u32 usage_now(void)
{
	return bpf_ktime_get_coarse_ns() / 1000000;
}

static __always_inline struct usage_entry *usage_lookup(__u32 endpoint)
{
	return bpf_map_lookup_elem(&fo_usage, &endpoint);
}

/* Takes a token. The bucket fills by rate a second up to burst. A lost race takes none: it is one among many. */
static __always_inline bool usage_take_token(struct token_bucket *b, __u32 rate, __u32 burst)
{
	__u64 word = READ_ONCE(*(__u64 *)b), level, full = (__u64)burst * 1000;
	__u32 now = usage_now();
	__u32 passed = now - (__u32)word;

	level = (word >> 32) + (__u64)passed * rate;
	if (level > full || !word)
		level = full;
	if (level < 1000)
		return false;
	__sync_val_compare_and_swap((__u64 *)b, word, (level - 1000) << 32 | now);
	return true;
}

/* May the endpoint make one more session? REASON_NONE, or which limit it meets. */
static __always_inline enum reason usage_admit(const struct endpoint_entry *ep, struct usage_entry *u)
{
	if (ep->sessions_rate && !usage_take_token(&u->bucket, ep->sessions_rate, ep->sessions_burst))
		return DROP_LIMIT_RATE;
	if (ep->sessions_max && READ_ONCE(u->sessions) >= ep->sessions_max)
		return DROP_LIMIT_SESSIONS;
	return REASON_NONE;
}

/* May the bridge copy one more frame of the endpoint to everybody? */
static __always_inline bool usage_admit_broadcast(const struct endpoint_entry *ep)
{
	struct usage_entry *u = ep->broadcasts_rate ? usage_lookup(ep->id) : NULL;

	return !u || usage_take_token(&u->broadcasts, ep->broadcasts_rate, ep->broadcasts_rate);
}

/* What an endpoint takes and gives back. NULL is the host itself. */
static __always_inline void usage_add_session(struct usage_entry *u)
{
	if (u)
		__sync_fetch_and_add(&u->sessions, 1);
}

static __always_inline void usage_drop_session(struct usage_entry *u)
{
	if (u && READ_ONCE(u->sessions)) /* 0: the endpoint is another one by now */
		__sync_fetch_and_sub(&u->sessions, 1);
}

static __always_inline void usage_add_mapping(struct usage_entry *u)
{
	if (u)
		__sync_fetch_and_add(&u->mappings, 1);
}

static __always_inline void usage_drop_mapping(struct usage_entry *u)
{
	if (u && READ_ONCE(u->mappings))
		__sync_fetch_and_sub(&u->mappings, 1);
}

#endif
