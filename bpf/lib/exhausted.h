/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * exhausted.h - where has every port been taken lately? Owns the fo_exhausted map. A search in vain looks at all ports, which must
 * not be had for every packet of whoever is refused: for a while the next ones are refused at once, unless a port is given back.
 */
#ifndef FLYOVER_EXHAUSTED_H
#define FLYOVER_EXHAUSTED_H

#include "family.h"
#include "kernel.h"

/* Milliseconds that a search in vain counts. */
#define EXHAUSTED_FOR 1000
#define EXHAUSTED_MAX 1024

struct exhausted_entry {
	__u32 space; /* hash of what the ports are taken of */
	__u32 range; /* of ports that was searched: networks may have ranges of their own */
	__u32 at;    /* when it was searched in vain, milliseconds of CLOCK_MONOTONIC, modulo 2^32; 0: never */
};

/* Index: hash modulo the size. The last space that was searched in vain for each. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EXHAUSTED_MAX);
	__type(key, __u32);
	__type(value, struct exhausted_entry);
} fo_exhausted SEC(".maps");

/* Key of the hashes, random for each load, so that ports cannot be told from outside. */
const volatile __u32 port_secret = 0;

/*
 * Mixes the words under the secret: xorshift-multiply, as good as is needed to scatter ports. The round after the last word is for the
 * inside port, which is in the upper half of the third: without it, ports of neighbours are at times as far apart as the last two were.
 */
static __always_inline __u32 port_hash(__u32 a, __u32 b, __u32 c, __u32 d)
{
	__u32 h = port_secret;

	h = (h ^ a) * 0x85ebca6b;
	h = (h ^ (h >> 15) ^ b) * 0xc2b2ae35;
	h = (h ^ (h >> 13) ^ c) * 0x85ebca6b;
	h = (h ^ (h >> 16) ^ d) * 0xc2b2ae35;
	h = (h ^ (h >> 13)) * 0x85ebca6b;
	return h ^ (h >> 16);
}

/* An address in a word for port_hash(), under the secret, too: which addresses meet cannot be told from outside. */
static __always_inline __u32 addr_fold(addr_t addr)
{
#if FAMILY == 6
	return port_hash(addr, addr >> 32, addr >> 64, addr >> 96);
#else
	return addr;
#endif
}

/* The space of a mapping's ports has no remote: remote and remote_port are 0. */
static __always_inline __u32 exhausted_space(addr_t outside, addr_t remote, __be16 remote_port, __u8 proto)
{
	return port_hash(addr_fold(outside), addr_fold(remote), remote_port, proto);
}

/* Ranges of one space are in so many places, so that they do not push each other out. */
#define EXHAUSTED_RANGES 4

static __always_inline struct exhausted_entry *exhausted_lookup(__u32 space, __u32 range)
{
	__u32 index = (space - space % EXHAUSTED_RANGES + range % EXHAUSTED_RANGES) % EXHAUSTED_MAX;

	return bpf_map_lookup_elem(&fo_exhausted, &index);
}

static __always_inline bool exhausted_is(__u32 space, __u32 range, __u32 now)
{
	struct exhausted_entry *e = exhausted_lookup(space, range);

	return e && e->at && e->space == space && e->range == range && now - e->at < EXHAUSTED_FOR;
}

static __always_inline void exhausted_note(__u32 space, __u32 range, __u32 now)
{
	struct exhausted_entry *e = exhausted_lookup(space, range);

	if (!e)
		return;
	e->space = space;
	e->range = range;
	e->at = (now - 1) | 1; /* not 0, and not later than now */
}

/* A port of the space has been given back. */
static __always_inline void exhausted_forget(__u32 space)
{
	for (__u32 i = 0; i < EXHAUSTED_RANGES; i++) {
		struct exhausted_entry *e = exhausted_lookup(space, i);

		if (e && e->at && e->space == space)
			e->at = 0;
	}
}

#endif
