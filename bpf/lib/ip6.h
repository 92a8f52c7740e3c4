/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ip6.h - IPv6's header and its chain of extension headers (RFC 8200), and ICMPv6's types (RFC 4443): what ip4.h is for IPv4. Whoever
 * hides what it sends behind extension headers is found out: the chain is walked to a bound, and beyond it the packet is dropped.
 */
#ifndef FLYOVER_IP6_H
#define FLYOVER_IP6_H

#include "frame.h"
#include "kernel.h"
#include "reason.h"

/* Extension headers that are walked over. Real packets have one or two. */
#define IP6_EXTENSIONS 8

/* Interface-local, which leaves no host (RFC 4291 section 2.7.1), and scope 0, which is reserved, are no destination on a link. */
static __always_inline bool addr_is_off_link(addr_t addr)
{
	__u8 first = addr, scope = (__u8)(addr >> 8) & 0x0f; /* in the order of the wire */

	return first == 0xff ? scope <= 1 : !(__u64)addr && addr6_is_special(addr >> 64);
}

static __always_inline bool addr_is_link_local(addr_t addr)
{
	return ((__u16)addr & bpf_htons(0xffc0)) == bpf_htons(0xfe80);
}

/* Is the address one that is never routed: unspecified, loopback, IPv4-mapped, multicast, link-local? */
static __always_inline bool addr_is_martian(addr_t addr)
{
	return (__u8)addr == 0xff || addr_is_link_local(addr) || addr_is_off_link(addr);
}

struct ip6_walk {
	struct __sk_buff *skb;
	__u32 at;
	__u32 end;
	enum reason reason;
	__u8 next;   /* kind of the header at at */
	__u8 flags;  /* enum ip6_found */
	__be16 part; /* of a fragment header: offset and whether more follow */
	__be32 id;
	__u32 fragment_at; /* offset of the fragment header; 0: there is none */
};

enum ip6_found {
	IP6_HOP_BY_HOP = 1,
	IP6_DONE = 2, /* next is no extension header, or what is behind is another fragment's */
};

/* What is common to all extension headers but the fragment's and the authentication header's lengths. */
struct ip6_extension {
	__u8 next;
	__u8 len; /* in units of 8 octets, less the first; of an authentication header of 4, less two; of a fragment header 0 */
	__be16 value; /* routing header: type and segments left; fragment header: offset and flags */
	__be32 id;    /* fragment header */
};

static __always_inline bool ip6_is_extension(__u8 kind)
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

#define IP6_OFFSET bpf_htons(0xfff8)
#define IP6_MORE bpf_htons(1)

/* One header of the chain. */
static long ip6_step(__u32 turn, struct ip6_walk *w)
{
	struct ip6_extension x;
	__u32 len;

	if (!ip6_is_extension(w->next) || (w->part & IP6_OFFSET)) {
		w->flags |= IP6_DONE;
		return 1;
	}
	w->reason = DROP_MALFORMED;
	if (w->next == IPPROTO_HOPOPTS) {
		if (turn) /* only behind the base header (RFC 8200 section 4.1) */
			return 1;
		w->flags |= IP6_HOP_BY_HOP;
	}
	if (w->at + sizeof(x) > w->end || bpf_skb_load_bytes(w->skb, w->at, &x, sizeof(x)))
		return 1;
	len = w->next == IPPROTO_FRAGMENT ? 8 : w->next == IPPROTO_AH ? (x.len + 2) * 4 : (x.len + 1) * 8;
	if (w->at + len > w->end)
		return 1;
	if (w->next == IPPROTO_ROUTING && !((__u8 *)&x.value)[0]) { /* RFC 5095 */
		w->reason = DROP_SOURCE_ROUTE;
		return 1;
	}
	if (w->next == IPPROTO_FRAGMENT) {
		if (w->fragment_at)
			return 1;
		w->fragment_at = w->at;
		w->part = x.value;
		w->id = x.id;
	}
	w->reason = REASON_NONE;
	w->next = x.next;
	w->at += len;
	return 0;
}

/* Walks the chain that begins as w says. A first fragment has the whole of it (RFC 7112 section 5). */
static __always_inline enum reason ip6_walk_chain(struct ip6_walk *w)
{
	if (!ip6_is_extension(w->next))
		return REASON_NONE;
	bpf_loop(IP6_EXTENSIONS + 1, ip6_step, w, 0);
	if (w->reason)
		return w->reason;
	return w->flags & IP6_DONE ? REASON_NONE : DROP_EXTENSIONS;
}

static __always_inline struct ipv6hdr *ip6_header(struct __sk_buff *skb)
{
	return pkt_at(skb, PKT_L3, sizeof(struct ipv6hdr));
}

static __always_inline enum reason ip_parse(struct pkt *p)
{
	struct ipv6hdr *ip = ip6_header(p->skb);
	struct ip6_walk w = { .skb = p->skb, .at = PKT_L3 + sizeof(*ip) };
	enum reason reason;
	__u32 payload;

	if (!ip)
		return DROP_MALFORMED;
	p->h->src = addr_load(ip->saddr.s6_addr); /* before any doubt, as of IPv4 */
	payload = bpf_ntohs(ip->payload_len);
	if (!payload && p->skb->gso_size)
		payload = p->skb->len - w.at; /* BIG TCP: longer than the field can say */
	if (ip->version != 6 || payload > p->skb->len - w.at)
		return DROP_MALFORMED;
	p->h->dst = addr_load(ip->daddr.s6_addr);
	p->h->ttl = ip->hop_limit;
	p->h->end = w.end = w.at + payload;
	w.next = ip->nexthdr;
	reason = ip6_walk_chain(&w);
	if (reason)
		return reason;
	if (w.fragment_at > PKT_OFFSET_MASK - sizeof(struct ip6_extension))
		return DROP_EXTENSIONS;
	p->h->proto = w.next;
	p->h->options = w.flags & IP6_HOP_BY_HOP;
	p->h->l4 = w.at;
	p->h->fragment_at = w.fragment_at;
	p->h->id = w.id;
	p->h->offset = bpf_ntohs(w.part & IP6_OFFSET);
	p->h->first = !p->h->offset;
	p->h->last = !(w.part & IP6_MORE);
	p->h->fragment = !p->h->first || !p->h->last; /* alone with a fragment header, it is none (RFC 6946) */
	return REASON_NONE;
}

/* What a router checks and a bridge does not: REASON_NONE, or why the packet is dropped. */
__noinline int ip_judge(struct __sk_buff *skb)
{
	struct ipv6hdr *ip = ip6_header(skb);

	if (!ip)
		return DROP_MALFORMED;
	if (addr_is_martian(addr_load(ip->saddr.s6_addr)) || addr_is_martian(addr_load(ip->daddr.s6_addr)))
		return DROP_MARTIAN;
	return REASON_NONE;
}

/* As of IPv4; a quotation may end in the middle of the packet. */
static __always_inline bool ip_is_quotable(struct __sk_buff *skb, const __u8 *at, __u32 l3, __u32 end, __u8 *proto, __u32 *l4)
{
	const struct ipv6hdr *ip = (const void *)at;
	struct ip6_walk w = { .skb = skb, .at = l3 + sizeof(*ip), .end = end, .next = ip->nexthdr };

	if (ip->version != 6 || ip6_walk_chain(&w) || (w.part & IP6_OFFSET) || w.at > PKT_OFFSET_MASK - 8)
		return false;
	*proto = w.next;
	*l4 = w.at;
	return true;
}

/* What of the IP header is in the checksum of an ICMPv6 message of so many octets: the pseudo header (RFC 8200 section 8.1), folded. */
static __always_inline __u32 ip_pseudo(struct __sk_buff *skb, __u32 len)
{
	struct ipv6hdr *ip = ip6_header(skb);

	if (!ip)
		return 0;
	return csum_fold64((__u64)bpf_csum_diff(NULL, 0, (__be32 *)&ip->saddr, 2 * ADDR_LEN, 0) + bpf_htonl(len) +
			   bpf_htonl(IPPROTO_ICMPV6));
}

/* Communication with destination administratively prohibited. */
#define ICMP_REFUSAL_TYPE ICMPV6_DEST_UNREACH
#define ICMP_REFUSAL_CODE 1

/* The header of an ICMPv6 message of so many octets. */
static __always_inline void ip_write(struct ipv6hdr *ip, addr_t from, addr_t to, __u8 ttl, __u32 len)
{
	*(be32_bytes *)ip = bpf_htonl(6U << 28);
	ip->payload_len = bpf_htons(len);
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = ttl;
	addr_store(ip->saddr.s6_addr, from);
	addr_store(ip->daddr.s6_addr, to);
}

static __always_inline bool icmp_is_request(__u8 type)
{
	return type == ICMPV6_ECHO_REQUEST;
}

static __always_inline bool icmp_is_reply(__u8 type)
{
	return type == ICMPV6_ECHO_REPLY;
}

/* Errors of types that are not known are none: what they are about is known to nobody. */
static __always_inline bool icmp_is_error(__u8 type)
{
	return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
}

#endif
