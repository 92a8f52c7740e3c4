/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* message.h - is the checksum of an ICMP message right? Owns the fo_message map. */
#ifndef FLYOVER_MESSAGE_H
#define FLYOVER_MESSAGE_H

#include "kernel.h"
#include "pkt.h"

/* The longest message that is looked at as a whole: routers quote no more (RFC 1812 section 4.3.2.3), and hosts seldom. */
#define MESSAGE_MAX PKT_COPY

struct message_entry {
	__u8 octets[MESSAGE_MAX];
};

/* A message of this CPU, as the checksum helper takes it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct message_entry);
} fo_message SEC(".maps");

/* Adds the octets from a fixed place on, 512 at most, of a message of len octets to the sum. No loop: older verifiers lose the bounds. */
static __always_inline __s64 message_add(struct message_entry *m, const __u32 at, __u32 len, __s64 sum)
{
	__u32 left = ((len + 3) & ~3) - at;

	if (len <= at)
		return sum;
	return bpf_csum_diff(NULL, 0, (__be32 *)&m->octets[at], left >= 512 ? 512 : left & 0x1fc, sum);
}

/*
 * Is the checksum of the message in octets l4 to end right, with what of the IP header is in its sum? One too long to be looked at is
 * left to its receiver.
 */
static __always_inline bool message_is_whole(struct __sk_buff *skb, __u32 l4, __u32 end, __u32 pseudo)
{
	__u32 index = 0, len = end - l4;
	struct message_entry *m = bpf_map_lookup_elem(&fo_message, &index);
	__s64 sum = pseudo;

	if (!m || len - 1 >= MESSAGE_MAX - 4)
		return true;
	*(__u32 *)&m->octets[len & ~3 & (MESSAGE_MAX - 1)] = 0; /* what fills the last word */
	if (bpf_skb_load_bytes(skb, l4, m->octets, pkt_size(len)))
		return false;
	sum = message_add(m, 0, len, sum);
	sum = message_add(m, 512, len, sum);
	sum = message_add(m, 1024, len, sum);
	sum = message_add(m, 1536, len, sum);
	return csum_fold64(sum) == 0xffff;
}

#endif
