/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * frame.h - the packet at hand: struct pkt says what is in it, and pkt_at() is the only way to its octets, since any helper that changes
 * the packet makes older pointers invalid. Filled in by pkt.h.
 */
#ifndef FLYOVER_FRAME_H
#define FLYOVER_FRAME_H

#include "family.h"
#include "kernel.h"

/* The headers that the fast path reads: Ethernet, IP without options or extension headers, TCP. */
#define PKT_HEADERS (ETH_HLEN + IP_HEADER_LEN + sizeof(struct tcphdr))
#define PKT_L3 ETH_HLEN
/* Every offset in the packet is below: the farthest is the transport header that an ICMP error of IPv4 quotes, 14 + 60 + 8 + 60. */
#define PKT_OFFSET_MASK 0xff

/* What the packet's headers say. */
struct headers {
	__be16 ethertype;

	/* Set for packets of the family only. */
	__u8 ttl; /* IPv6: hop limit */
	__u8 proto;
	bool fragment; /* one of several, the first included */
	bool first;    /* offset 0: the transport header is here */
	bool options;  /* of IPv4; IPv6: a hop-by-hop header, which every router on the way is to look at */
	__be32 id;
	__u16 offset; /* of a fragment, octets */
	bool last;    /* no fragment comes behind it */
	addr_t src;
	addr_t dst;
	__u32 fragment_at; /* IPv6: offset of the fragment header, if there is one */
	__u32 l4;	   /* offset of the transport header */
	__u32 end;	   /* offset behind the IP packet; a short frame's padding comes after */

	/* Set by pkt_parse_l4(). */
	__u32 l4_len;  /* octets of transport header, TCP options included */
	__be16 sport;  /* ICMP query: the identifier */
	__be16 dport;  /* ICMP query: 0 */
	__u32 tcp_seq; /* host byte order; valid for TCP */
	__u32 tcp_ack;
	__u8 tcp_flags; /* the octet with FIN, SYN, RST, ACK; 0 unless TCP */
	__u8 icmp_type; /* valid for ICMP */
};

struct pkt {
	struct __sk_buff *skb;
	struct headers *h;
};

/* Where headers are that the stack has no room for: those of the program, and of a function that takes the packet apart once more. */
enum headers_room {
	HEADERS_OF_PROGRAM,
	HEADERS_OF_FUNCTION,
	HEADERS_ROOMS,
};

#if FAMILY == 6

/* Index: enum headers_room. Those of the packet that this CPU is at. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HEADERS_ROOMS);
	__type(key, __u32);
	__type(value, struct headers);
} fo_headers SEC(".maps");

/* The headers of the caller's packet, which may be NULL. */
static __always_inline struct headers *headers_here(__attribute__((unused)) struct headers *on_stack, enum headers_room room)
{
	__u32 index = room;

	return bpf_map_lookup_elem(&fo_headers, &index);
}

#else

/* The same, on the stack, where the compiler takes them apart into registers. */
static __always_inline struct headers *headers_here(struct headers *on_stack, __attribute__((unused)) enum headers_room room)
{
	return on_stack;
}

#endif

enum tcp_flag {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

/* len octets of the packet at offset, or NULL if the linear part ends before. */
static __always_inline void *pkt_at(struct __sk_buff *skb, __u32 offset, __u32 len)
{
	void *at;

	/* The verifier forgets the bounds of an offset that was spilled, and the compiler takes them for known: say them again. */
	if (!__builtin_constant_p(offset)) {
		asm volatile("" : "+r"(offset));
		offset &= PKT_OFFSET_MASK;
	}
	at = (void *)(long)skb->data + offset;
	if (at + len > (void *)(long)skb->data_end)
		return NULL;
	return at;
}

/* Of the maps that take whole packets. A power of two, for pkt_size(). */
#define PKT_COPY 2048

/*
 * A length of 1 to PKT_COPY as it is, and any other as one of these: older verifiers do not see that what is not 0 is at least 1.
 */
static __always_inline __u32 pkt_size(__u32 len)
{
	len -= 1;
	asm volatile("" : "+r"(len));
	return (len & (PKT_COPY - 1)) + 1;
}

/* The Ethernet header: its addresses are read in place, copies of them fill the stack. NULL never, of a packet that has been parsed. */
static __always_inline struct ethhdr *pkt_eth(const struct pkt *p)
{
	return pkt_at(p->skb, 0, sizeof(struct ethhdr));
}

/* Makes the first len octets readable in place, or as many as there are. */
static __always_inline void pkt_pull(struct __sk_buff *skb, __u32 len)
{
	if (len > skb->len)
		len = skb->len;
	if ((void *)(long)skb->data + len > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, len);
}

/* The one's complement sum of 32-bit words, in 16 bits. */
static __always_inline __u16 csum_fold64(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The one's complement sum of so many 32-bit words at the offset, folded; 0xffff if they hold their own checksum and it is right. */
static __always_inline __u16 pkt_sum(struct __sk_buff *skb, __u32 offset, __u32 words)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < 15 && i < words; i++) {
		be32_bytes *word = pkt_at(skb, offset + i * 4, 4);

		if (!word)
			return 0;
		sum += *word;
	}
	return csum_fold64(sum);
}

#endif
