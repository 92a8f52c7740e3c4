/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* pkt.h - what is in this packet? Parses once into struct pkt, on which everything else works. */
#ifndef FLYOVER_PKT_H
#define FLYOVER_PKT_H

#include "frame.h"
#include "kernel.h"
#include "reason.h"
#if FAMILY == 6
#include "ip6.h"
#else
#include "ip4.h"
#endif

/* Ethernet and, where it is of the family, the IP header. */
static __always_inline enum reason pkt_parse(struct pkt *p)
{
	struct ethhdr *eth;

	if (!p->h)
		return DROP_MALFORMED;
	/* All of it: the verifier does not follow how the compiler knows which fields are set. */
	*p->h = (struct headers){};
	pkt_pull(p->skb, PKT_HEADERS);
	eth = pkt_eth(p);
	if (!eth)
		return DROP_MALFORMED;
	p->h->ethertype = eth->h_proto;
	if (p->h->ethertype != bpf_htons(ETH_P_FAMILY))
		return REASON_NONE;
	return ip_parse(p);
}

static __always_inline enum reason pkt_parse_tcp(struct pkt *p)
{
	struct tcphdr *tcp = pkt_at(p->skb, p->h->l4, sizeof(*tcp));

	if (!tcp || p->h->l4 + sizeof(*tcp) > p->h->end)
		return DROP_TRANSPORT;
	p->h->sport = tcp->source;
	p->h->dport = tcp->dest;
	p->h->l4_len = tcp->doff * 4;
	p->h->tcp_seq = bpf_ntohl(tcp->seq);
	p->h->tcp_ack = bpf_ntohl(tcp->ack_seq);
	p->h->tcp_flags = ((__u8 *)tcp)[13];
	return REASON_NONE;
}

static __always_inline enum reason pkt_parse_udp(struct pkt *p)
{
	struct udphdr *udp = pkt_at(p->skb, p->h->l4, sizeof(*udp));

	if (!udp || p->h->l4 + sizeof(*udp) > p->h->end)
		return DROP_TRANSPORT;
	p->h->sport = udp->source;
	p->h->dport = udp->dest;
	p->h->l4_len = sizeof(*udp);

	return REASON_NONE;
}

static __always_inline enum reason pkt_parse_icmp(struct pkt *p)
{
	struct icmphdr *icmp = pkt_at(p->skb, p->h->l4, sizeof(*icmp));

	if (!icmp || p->h->l4 + sizeof(*icmp) > p->h->end)
		return DROP_TRANSPORT;
	p->h->l4_len = sizeof(*icmp);
	p->h->icmp_type = icmp->type;
	if (icmp_is_request(icmp->type) || icmp_is_reply(icmp->type))
		p->h->sport = icmp->id;
	return REASON_NONE;
}

/*
 * The transport header of a packet that is whole. Protocols without ports: PASS_PROTOCOL. Behind so many octets of extension headers that
 * pkt_at() does not reach it: DROP_EXTENSIONS.
 */
static __always_inline enum reason pkt_parse_l4(struct pkt *p)
{
	if (FAMILY == 6 && p->h->l4 > PKT_OFFSET_MASK - sizeof(struct tcphdr))
		return DROP_EXTENSIONS;
	if (p->h->l4 > PKT_L3 + IP_HEADER_LEN) /* PKT_HEADERS did not reach over what is between */
		pkt_pull(p->skb, p->h->l4 + sizeof(struct tcphdr));
	switch (p->h->proto) {
	case IPPROTO_TCP:
		return pkt_parse_tcp(p);
	case IPPROTO_UDP:
		return pkt_parse_udp(p);
	case PROTO_ICMP:
		return pkt_parse_icmp(p);
	}
	return PASS_PROTOCOL;
}

/* Does the packet, or each segment of a GSO packet, fit into mtu octets of IP? */
static __always_inline bool pkt_fits(const struct pkt *p, __u32 mtu)
{
	const struct __sk_buff *skb = p->skb;

	if (!skb->gso_size)
		return skb->len - PKT_L3 <= mtu;
	return p->h->l4 - PKT_L3 + p->h->l4_len + skb->gso_size <= mtu;
}

#endif
