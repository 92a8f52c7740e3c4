/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ip4.h - IPv4's header (RFC 791) and ICMP's types (RFC 792): what ip6.h is for IPv6. */
#ifndef FLYOVER_IP4_H
#define FLYOVER_IP4_H

#include "frame.h"
#include "kernel.h"
#include "reason.h"

/* RFC 1812 section 5.2.2. The header checksum is left to whoever receives the packet: updates are incremental and keep it wrong. */
static __always_inline enum reason ip_parse(struct pkt *p)
{
	struct iphdr *ip = pkt_at(p->skb, PKT_L3, sizeof(*ip));
	__u32 header, total;

	if (!ip)
		return DROP_MALFORMED;
	p->h->src = ip->saddr; /* before any doubt: whose a malformed packet is decides about it */
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (!total && p->skb->gso_size)
		total = p->skb->len - PKT_L3; /* BIG TCP: longer than the field can say */
	if (ip->version != 4 || header < sizeof(*ip) || total < header || total > p->skb->len - PKT_L3)
		return DROP_MALFORMED;
	p->h->ttl = ip->ttl;
	p->h->proto = ip->protocol;
	p->h->fragment = ip->frag_off & bpf_htons(IP_MF | IP_OFFSET);
	p->h->first = !(ip->frag_off & bpf_htons(IP_OFFSET));
	p->h->id = ip->id;
	p->h->last = !(ip->frag_off & bpf_htons(IP_MF));
	p->h->offset = (bpf_ntohs(ip->frag_off) & IP_OFFSET) * 8;
	p->h->options = header > sizeof(*ip);
	p->h->dst = ip->daddr;
	p->h->l4 = PKT_L3 + header;
	p->h->end = PKT_L3 + total;
	return REASON_NONE;
}

/* Is the address one that is never routed: this network, loopback, multicast, reserved, limited broadcast? */
static __always_inline bool addr_is_martian(addr_t addr)
{
	__u8 first = bpf_ntohl(addr) >> 24;

	return first == 0 || first == 127 || first >= 224;
}

/* IPv6's link-local addresses are beside all others of an interface. IPv4's are in place of them, and no network's. */
static __always_inline bool addr_is_link_local(__attribute__((unused)) addr_t addr)
{
	return false;
}

struct option_walk {
	struct __sk_buff *skb;
	__u32 at; /* offset of the next option */
	__u32 end;
	bool source_routed;
};

/* One option. Malformed ones count as a source route. */
static long option_step(__attribute__((unused)) __u32 turn, struct option_walk *w)
{
	__u8 option[2] = {};

	if (w->at >= w->end || bpf_skb_load_bytes(w->skb, w->at, &option[0], 1) || option[0] == IPOPT_END)
		return 1;
	if (option[0] == IPOPT_NOOP) {
		w->at++;
		return 0;
	}
	w->source_routed = option[0] == (__u8)IPOPT_LSRR || option[0] == (__u8)IPOPT_SSRR ||
			   bpf_skb_load_bytes(w->skb, w->at + 1, &option[1], 1) || option[1] < 2 || w->at + option[1] > w->end;
	w->at += option[1];
	return w->source_routed;
}

/* Is there a source route among the options before offset end (RFC 7126 section 4.3)? */
static __always_inline bool pkt_is_source_routed(struct __sk_buff *skb, __u32 end)
{
	struct option_walk walk = { .skb = skb, .at = PKT_L3 + sizeof(struct iphdr), .end = end };

	bpf_loop(40, option_step, &walk, 0);
	return walk.source_routed;
}

/*
 * What a router checks and a bridge does not (RFC 1812 sections 5.2.2 and 5.3.7): REASON_NONE, or why the packet is dropped. A global
 * function, for the verifier's sake.
 */
__noinline int ip_judge(struct __sk_buff *skb)
{
	struct iphdr *ip = pkt_at(skb, PKT_L3, sizeof(*ip));
	__u32 l4;

	if (!ip)
		return DROP_MALFORMED;
	if (addr_is_martian(ip->saddr) || addr_is_martian(ip->daddr))
		return DROP_MARTIAN;
	if (ip->ihl == 5) {
		be32_bytes *word = (void *)ip;

		return csum_fold64((__u64)word[0] + word[1] + word[2] + word[3] + word[4]) == 0xffff ? REASON_NONE
												     : DROP_CHECKSUM;
	}
	l4 = PKT_L3 + ip->ihl * 4;
	pkt_pull(skb, l4);
	if (pkt_is_source_routed(skb, l4))
		return DROP_SOURCE_ROUTE;
	if (pkt_sum(skb, PKT_L3, (l4 - PKT_L3) / 4) != 0xffff)
		return DROP_CHECKSUM;
	return REASON_NONE;
}

/* Can the packet that is quoted at offset l3, and whose header is at at, be known by its ports? Says which protocol it is of, and where its header is. */
static __always_inline bool ip_is_quotable(__attribute__((unused)) struct __sk_buff *skb, const __u8 *at, __u32 l3,
					   __attribute__((unused)) __u32 end, __u8 *proto, __u32 *l4)
{
	const struct iphdr *ip = (const void *)at;

	if (ip->version != 4 || ip->ihl < 5 || (ip->frag_off & bpf_htons(IP_OFFSET)))
		return false;
	*proto = ip->protocol;
	*l4 = l3 + ip->ihl * 4;
	return true;
}

/* What of the IP header is in the checksum of an ICMP message: nothing. */
static __always_inline __u32 ip_pseudo(__attribute__((unused)) struct __sk_buff *skb, __attribute__((unused)) __u32 len)
{
	return 0;
}

/* Communication administratively prohibited. */
#define ICMP_REFUSAL_TYPE ICMP_DEST_UNREACH
#define ICMP_REFUSAL_CODE 13

/* The header of an ICMP error of so many octets. */
static __always_inline void ip_write(struct iphdr *ip, addr_t from, addr_t to, __u8 ttl, __u32 len)
{
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = 0xc0, /* internetwork control (RFC 1812 section 4.3.2.5) */
		.tot_len = bpf_htons(sizeof(*ip) + len),
		.ttl = ttl,
		.protocol = IPPROTO_ICMP,
		.saddr = from,
		.daddr = to,
	};
	ip->check = ~csum_fold64((__u32)bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
}

static __always_inline bool icmp_is_request(__u8 type)
{
	return type == ICMP_ECHO || type == ICMP_TIMESTAMP;
}

static __always_inline bool icmp_is_reply(__u8 type)
{
	return type == ICMP_ECHOREPLY || type == ICMP_TIMESTAMPREPLY;
}

static __always_inline bool icmp_is_error(__u8 type)
{
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB;
}

#endif
