/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ipv6.h - what is in this IPv6 packet (RFC 8200)? Addresses are read in place: copies of them would fill the stack. Whoever hides
 * what it sends behind extension headers is found out: the chain is walked to a bound, and beyond it the packet is dropped.
 */
#ifndef FLYOVER_IPV6_H
#define FLYOVER_IPV6_H

#include "kernel.h"
#include "pkt.h"
#include "reason.h"

/* Extension headers that are walked over. Real packets have one or two. */
#define IPV6_EXTENSIONS 8
/* Length of the base header, and thus where the chain begins. */
#define IPV6_CHAIN (PKT_L3 + sizeof(struct ipv6hdr))

struct ipv6 {
	__u8 proto; /* of the upper layer; behind a fragment that is not the first, of the header that would be next */
	__u8 hop_limit;
	bool fragment; /* one of several, or alone with a fragment header */
	bool first;    /* offset 0: the upper layer's header is here */
	__u32 l4;      /* offset of the upper layer's header */
	__u32 end;     /* offset behind the IP packet; a short frame's padding comes after */
};

static __always_inline struct ipv6hdr *ipv6_header(struct __sk_buff *skb)
{
	return pkt_at(skb, PKT_L3, sizeof(struct ipv6hdr));
}

/* Interface-local, which leaves no host (RFC 4291 section 2.7.1), and scope 0, which is reserved, are no destination on a link. */
static __always_inline bool addr6_is_martian(const __u8 *addr)
{
	return addr[0] == 0xff ? (addr[1] & 0x0f) <= 1
			       : addr6_is_loopback(addr) || addr6_is_unspecified(addr) || addr6_is_mapped(addr);
}

struct ipv6_walk {
	struct __sk_buff *skb;
	__u32 at;
	__u32 end;
	enum reason reason;
	__u8 next; /* kind of the header at at */
	bool fragment;
	bool first;
	bool done; /* next is no extension header */
};

/* What is common to all extension headers but the fragment's and the authentication header's lengths. */
struct ipv6_extension {
	__u8 next;
	__u8 len; /* in units of 8 octets, less the first; of an authentication header of 4, less two; of a fragment header 0 */
	__be16 value; /* routing header: type and segments left; fragment header: offset and flags */
};

static __always_inline bool ipv6_is_extension(__u8 kind)
{
	switch (kind) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
		return true;
	}
	return false;
}

/* One header of the chain. */
static long ipv6_step(__u32 turn, struct ipv6_walk *w)
{
	struct ipv6_extension x;
	__u32 len;

	if (!ipv6_is_extension(w->next) || !w->first) {
		w->done = true;
		return 1;
	}
	w->reason = DROP_MALFORMED;
	if (w->next == IPPROTO_HOPOPTS && turn) /* only behind the base header (RFC 8200 section 4.1) */
		return 1;
	if (w->at + 8 > w->end || bpf_skb_load_bytes(w->skb, w->at, &x, sizeof(x)))
		return 1;
	len = w->next == IPPROTO_FRAGMENT ? 8 : w->next == IPPROTO_AH ? (x.len + 2) * 4 : (x.len + 1) * 8;
	if (w->at + len > w->end)
		return 1;
	if (w->next == IPPROTO_ROUTING && !((__u8 *)&x.value)[0]) { /* RFC 5095 */
		w->reason = DROP_SOURCE_ROUTE;
		return 1;
	}
	if (w->next == IPPROTO_FRAGMENT) {
		w->fragment = true;
		w->first = !(x.value & bpf_htons(0xfff8));
	}
	w->reason = REASON_NONE;
	w->next = x.next;
	w->at += len;
	return 0;
}

/* Walks the chain. A first fragment has the whole of it (RFC 7112 section 5). */
static __always_inline enum reason ipv6_walk_chain(struct __sk_buff *skb, struct ipv6 *ip)
{
	struct ipv6_walk w = { .skb = skb, .at = IPV6_CHAIN, .end = ip->end, .next = ip->proto, .first = true };

	bpf_loop(IPV6_EXTENSIONS + 1, ipv6_step, &w, 0);
	if (w.reason)
		return w.reason;
	if (!w.done)
		return DROP_EXTENSIONS;
	ip->proto = w.next;
	ip->fragment = w.fragment;
	ip->first = w.first;
	ip->l4 = w.at;
	return REASON_NONE;
}

/* Fills *ip. */
static __always_inline enum reason ipv6_parse(struct __sk_buff *skb, struct ipv6 *ip)
{
	struct ipv6hdr *h;
	__u32 payload;

	pkt_pull(skb, IPV6_CHAIN + sizeof(struct tcphdr));
	h = ipv6_header(skb);
	if (!h || h->version != 6)
		return DROP_MALFORMED;
	payload = bpf_ntohs(h->payload_len);
	if (!payload && skb->gso_size)
		payload = skb->len - IPV6_CHAIN; /* BIG TCP: longer than the field can say */
	if (payload > skb->len - IPV6_CHAIN)
		return DROP_MALFORMED;
	*ip = (struct ipv6){
		.proto = h->nexthdr, .hop_limit = h->hop_limit, .first = true, .l4 = IPV6_CHAIN, .end = IPV6_CHAIN + payload
	};
	return ipv6_is_extension(ip->proto) ? ipv6_walk_chain(skb, ip) : REASON_NONE;
}

/* The upper layer's first octets of a packet that has them, as far as they are there: type and code of ICMPv6, source port. */
static __always_inline bool ipv6_load(struct __sk_buff *skb, const struct ipv6 *ip, void *to, __u32 len)
{
	return ip->first && ip->l4 + len <= ip->end && !bpf_skb_load_bytes(skb, ip->l4, to, len);
}

#endif
