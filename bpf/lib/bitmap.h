/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * bitmap.h - which outside ports do mappings have, a bit for each? Owns the fo_bitmaps map. The bit is the claim: whoever sets it has
 * the port, until it clears it. No entry is deleted with its last bit, since a claim could be lost with it: control deletes those of
 * addresses that no uplink has any more.
 */
#ifndef FLYOVER_BITMAP_H
#define FLYOVER_BITMAP_H

#include "family.h"
#include "kernel.h"

#define BITMAP_WORDS 1024
/* Addresses of uplinks, by three protocols. */
#define BITMAPS_MAX 1024

struct bitmap_key {
	ADDRESS(outside);
	__u8 proto;
	PADDING(pad, 3, 7);
};
_Static_assert(sizeof(struct bitmap_key) == ADDR_LEN + (FAMILY == 6 ? 8 : 4), "no hidden padding: the key is hashed as bytes");

struct bitmap_entry {
	__u64 taken[BITMAP_WORDS]; /* port n, host byte order: bit n % 64 of word n / 64 */
	__u32 uplink;		   /* ifindex of the one that had the address at the last claim */
	__u32 pad;
};
_Static_assert(sizeof(struct bitmap_entry) == 8 * BITMAP_WORDS + 8, "no hidden padding");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BITMAPS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bitmap_key);
	__type(value, struct bitmap_entry);
} fo_bitmaps SEC(".maps");

/* Index 0: a bitmap of no port, to begin others with: no stack has room for one. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bitmap_entry);
} fo_bitmap_none SEC(".maps");

static __always_inline struct bitmap_entry *bitmap_lookup(addr_t outside, __u8 proto)
{
	struct bitmap_key key = { .proto = proto };

	addr_store(key.outside, outside);
	return bpf_map_lookup_elem(&fo_bitmaps, &key);
}

/* bitmap_lookup(), which makes it if it is missing. */
static __always_inline struct bitmap_entry *bitmap_make(addr_t outside, __u8 proto)
{
	struct bitmap_entry *b = bitmap_lookup(outside, proto), *none;
	struct bitmap_key key = { .proto = proto };
	__u32 index = 0;

	if (b)
		return b;
	none = bpf_map_lookup_elem(&fo_bitmap_none, &index);
	if (!none)
		return NULL;
	addr_store(key.outside, outside);
	bpf_map_update_elem(&fo_bitmaps, &key, none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&fo_bitmaps, &key);
}

static __always_inline __u64 *bitmap_word(struct bitmap_entry *b, __u32 word)
{
	asm volatile("" : "+r"(word)); /* the compiler knows the bound, older verifiers do not: say it again */
	return &b->taken[word & (BITMAP_WORDS - 1)];
}

/* The ports of a word that are free, a bit for each. */
static __always_inline __u64 bitmap_free(struct bitmap_entry *b, __u32 word)
{
	return ~READ_ONCE(*bitmap_word(b, word));
}

static __always_inline bool bitmap_has(struct bitmap_entry *b, __u16 port)
{
	return READ_ONCE(*bitmap_word(b, port / 64)) & (1ULL << (port % 64));
}

/* Claims the port for a mapping by the uplink; false: it is taken. Test and claim are one. */
static __always_inline bool bitmap_claim(struct bitmap_entry *b, __u16 port, __u32 uplink)
{
	__u64 bit = 1ULL << (port % 64);

	if (READ_ONCE(b->uplink) != uplink)
		b->uplink = uplink; /* before the bit, so that it is there for who sees that */
	return !(__sync_fetch_and_or(bitmap_word(b, port / 64), bit) & bit);
}

/* Gives a port back, to whoever claims it next. */
static __always_inline void bitmap_release(addr_t outside, __u8 proto, __u16 port)
{
	struct bitmap_entry *b = bitmap_lookup(outside, proto);

	if (b)
		__sync_fetch_and_and(bitmap_word(b, port / 64), ~(1ULL << (port % 64)));
}

/* Where the lowest set bit of 1 << n is in the multiple of this number: each n another (de Bruijn). */
#define BITMAP_DE_BRUIJN 0x03f79d71b4cb0a89ULL

static const __u8 bitmap_positions[64] = {
	0,  1,	48, 2,	57, 49, 28, 3,	61, 58, 50, 42, 38, 29, 17, 4,	62, 55, 59, 36, 53, 51,
	43, 22, 45, 39, 33, 30, 24, 18, 12, 5,	63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21,
	44, 32, 23, 11, 46, 26, 40, 15, 34, 20, 31, 10, 25, 14, 19, 9,	13, 8,	7,  6,
};

/* Index of the lowest set bit of a word that is not 0. There is no instruction for it, and branches cost the verifier. */
static __always_inline __u32 bitmap_lowest(__u64 word)
{
	return bitmap_positions[((word & -word) * BITMAP_DE_BRUIJN) >> 58];
}

#endif
