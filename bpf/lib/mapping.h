/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mapping.h - which outside port stands for an inside port, whatever the remote (RFC 4787 REQ-1, RFC 5382 REQ-1, RFC 5508
 * REQ-1)? Owns the fo_mappings map, which is read when a session is made, and fo_ports, which is read for what comes from outside
 * to a network with an open filter. A mapping is an entry of the first, a bit of bitmap.h, and with an open filter an entry of the
 * second; it lasts as long as one of its sessions.
 */
#ifndef FLYOVER_MAPPING_H
#define FLYOVER_MAPPING_H

#include "bitmap.h"
#include "exhausted.h"
#include "family.h"
#include "kernel.h"
#include "life.h"
#include "reply.h"

/* Two full sets of TCP ports, or one of each protocol. Set by the loader to no more than there can be sessions. */
#define MAPPINGS_MAX 196608

struct mapping_key {
	ADDRESS(inside);
	ADDRESS(outside);
	__be16 inside_port;
	__u8 proto;
	PADDING(pad, 1, 5);
};
_Static_assert(sizeof(struct mapping_key) == 2 * ADDR_LEN + (FAMILY == 6 ? 8 : 4),
	       "no hidden padding: the key is hashed as bytes");

struct mapping_entry {
	__be16 outside_port;
	__u16 tag;	/* of the key, which tells that the entry is not another's by now */
	__u32 sessions; /* of the mapping */
};
_Static_assert(sizeof(struct mapping_entry) == 8, "no hidden padding");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, FAMILY_PREALLOC);
	__uint(max_entries, MAPPINGS_MAX);
	__type(key, struct mapping_key);
	__type(value, struct mapping_entry);
} fo_mappings SEC(".maps");

struct port_key {
	ADDRESS(outside);
	__be16 outside_port;
	__u8 proto;
	PADDING(pad, 1, 5);
};
_Static_assert(sizeof(struct port_key) == ADDR_LEN + (FAMILY == 6 ? 8 : 4), "no hidden padding: the key is hashed as bytes");

struct port_entry {
	struct session_life life; /* copy of that of the session that lasts longest */
	ADDRESS(inside);
	__u32 endpoint; /* ifindex of the host's end */
	__be16 inside_port;
	PADDING(pad, 6, 2);
};
_Static_assert(sizeof(struct port_entry) == (FAMILY == 6 ? 32 : 24), "no hidden padding");

/* Whose an outside port is that any remote may send to. Who has the port's bit writes its entry. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAPPINGS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_key);
	__type(value, struct port_entry);
} fo_ports SEC(".maps");

static __always_inline bool port_owner_of(const struct port_key *key, struct reply_owner *owner)
{
	struct port_entry *port = bpf_map_lookup_elem(&fo_ports, key);

	if (!port)
		return false;
	owner->life = session_life_load(&port->life);
	owner->inside = addr_load(port->inside);
	owner->endpoint = port->endpoint;
	owner->inside_port = port->inside_port;
	owner->mapped = true;
	return true;
}

static __always_inline __u16 mapping_tag(const struct mapping_key *key)
{
	return port_hash(addr_fold(addr_load(key->inside)), addr_fold(addr_load(key->outside)), key->inside_port, key->proto);
}

/* Takes a share in the mapping, unless it is about to go or has become another's since it was looked up. */
static __always_inline bool mapping_get(struct mapping_entry *m, __u16 tag, __be16 *outside_port)
{
	for (int i = 0; i < 4; i++) {
		__u64 word = READ_ONCE(*(__u64 *)m); /* port, tag, sessions */

		if (!(word >> 32) || (__u16)(word >> 16) != tag)
			return false;
		if (__sync_val_compare_and_swap((__u64 *)m, word, word + (1ULL << 32)) != word)
			continue;
		*outside_port = (__u16)word;
		return true;
	}
	return false;
}

static __always_inline void port_key_fill(struct port_key *port, const struct mapping_key *key, __be16 outside_port)
{
	*port = (struct port_key){ .outside_port = outside_port, .proto = key->proto };
	addr_store(port->outside, addr_load(key->outside));
}

/* Gives the port of a mapping back that is not there, or about to go. */
static __always_inline void port_release(const struct port_key *key)
{
	/* In this order: the entry is whose the bit is. A mapping may have been made before the network's filter was another. */
	bpf_map_delete_elem(&fo_ports, key);
	bitmap_release(addr_load(key->outside), key->proto, bpf_ntohs(key->outside_port));
}

/* Gives a share in the mapping back. True: it was the last, and the mapping is gone. In port there is room for its port's key. */
static __always_inline bool mapping_put(const struct mapping_key *key, struct port_key *port)
{
	struct mapping_entry *m = bpf_map_lookup_elem(&fo_mappings, key);

	if (!m)
		return false;
	port_key_fill(port, key, m->outside_port);
	if (!share_put(&m->sessions))
		return false;
	/* In this order: as long as the mapping is there, nobody makes it anew. */
	port_release(port);
	bpf_map_delete_elem(&fo_mappings, key);
	return true;
}

#endif
