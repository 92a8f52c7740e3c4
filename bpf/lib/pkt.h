/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * pkt.h - what is in this packet? Parses once into struct pkt; everything else works on that and re-derives pointers into the
 * packet through pkt_at() alone, since any helper that changes the packet makes older pointers invalid.
 */
#ifndef FLYOVER_PKT_H
#define FLYOVER_PKT_H

#include "kernel.h"
#include "reason.h"

/* The headers that the fast path reads: Ethernet, IPv4 without options, TCP. */
#define PKT_HEADERS (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr))
#define PKT_L3 ETH_HLEN
/* Every offset is below: the farthest is the transport header that an ICMP error quotes, 14 + 60 + 8 + 60. */
#define PKT_OFFSET_MASK 0xff

struct pkt {
	struct __sk_buff *skb;
	__u8 destination[ETH_ALEN]; /* of the frame */
	__u8 source[ETH_ALEN];
	__be16 ethertype;

	/* Set for IPv4 only. */
	__u8 ttl;
	__u8 proto;
	bool fragment; /* one of several, the first included */
	bool first;    /* offset 0: the transport header is here */
	bool options;
	__be16 id;
	__u16 offset; /* of a fragment, octets */
	bool last;    /* no fragment comes behind it */
	__be32 src;
	__be32 dst;
	__u32 l4;  /* offset of the transport header */
	__u32 end; /* offset behind the IP packet; a short frame's padding comes after */

	/* Set by pkt_parse_l4(). */
	__u32 l4_len;  /* octets of transport header, TCP options included */
	__be16 sport;  /* ICMP query: the identifier */
	__be16 dport;  /* ICMP query: 0 */
	__u32 tcp_seq; /* host byte order; valid for TCP */
	__u32 tcp_ack;
	__u8 tcp_flags; /* the octet with FIN, SYN, RST, ACK; 0 unless TCP */
	__u8 icmp_type; /* valid for ICMP */
};

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

/* Makes the first len octets readable in place, or as many as there are. */
static __always_inline void pkt_pull(struct __sk_buff *skb, __u32 len)
{
	if (len > skb->len)
		len = skb->len;
	if ((void *)(long)skb->data + len > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, len);
}

/* RFC 1812 section 5.2.2. The header checksum is left to whoever receives the packet: updates are incremental and keep it wrong. */
static __always_inline enum reason pkt_parse_ipv4(struct pkt *p)
{
	struct iphdr *ip = pkt_at(p->skb, PKT_L3, sizeof(*ip));
	__u32 header, total;

	if (!ip)
		return DROP_MALFORMED;
	p->src = ip->saddr; /* before any doubt: whose a malformed packet is decides about it */
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (!total && p->skb->gso_size)
		total = p->skb->len - PKT_L3; /* BIG TCP: longer than the field can say */
	if (ip->version != 4 || header < sizeof(*ip) || total < header || total > p->skb->len - PKT_L3)
		return DROP_MALFORMED;
	p->ttl = ip->ttl;
	p->proto = ip->protocol;
	p->fragment = ip->frag_off & bpf_htons(IP_MF | IP_OFFSET);
	p->first = !(ip->frag_off & bpf_htons(IP_OFFSET));
	p->id = ip->id;
	p->last = !(ip->frag_off & bpf_htons(IP_MF));
	p->offset = (bpf_ntohs(ip->frag_off) & IP_OFFSET) * 8;
	p->options = header > sizeof(*ip);
	p->dst = ip->daddr;
	p->l4 = PKT_L3 + header;
	p->end = PKT_L3 + total;
	return REASON_NONE;
}

/* Ethernet and, where it is IPv4, the IP header. */
static __always_inline enum reason pkt_parse(struct pkt *p, struct __sk_buff *skb)
{
	struct ethhdr *eth;

	/* All of it: the verifier does not follow how the compiler knows which fields are set. */
	*p = (struct pkt){ .skb = skb };
	pkt_pull(skb, PKT_HEADERS);
	eth = pkt_at(skb, 0, sizeof(*eth));
	if (!eth)
		return DROP_MALFORMED;
	mac_copy(p->destination, eth->h_dest);
	mac_copy(p->source, eth->h_source);
	p->ethertype = eth->h_proto;
	if (p->ethertype != bpf_htons(ETH_P_IP))
		return REASON_NONE;
	return pkt_parse_ipv4(p);
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
static __always_inline __u16 pkt_sum(const struct pkt *p, __u32 offset, __u32 words)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < 15 && i < words; i++) {
		be32_bytes *word = pkt_at(p->skb, offset + i * 4, 4);

		if (!word)
			return 0;
		sum += *word;
	}
	return csum_fold64(sum);
}

/* Is the address one that is never routed: this network, loopback, multicast, reserved, limited broadcast? */
static __always_inline bool addr4_is_martian(__be32 addr)
{
	__u8 first = bpf_ntohl(addr) >> 24;

	return first == 0 || first == 127 || first >= 224;
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
__noinline int pkt_judge(struct __sk_buff *skb)
{
	struct iphdr *ip = pkt_at(skb, PKT_L3, sizeof(*ip));
	struct pkt p = { .skb = skb };

	if (!ip)
		return DROP_MALFORMED;
	if (addr4_is_martian(ip->saddr) || addr4_is_martian(ip->daddr))
		return DROP_MARTIAN;
	if (ip->ihl == 5) {
		be32_bytes *word = (void *)ip;

		return csum_fold64((__u64)word[0] + word[1] + word[2] + word[3] + word[4]) == 0xffff ? REASON_NONE
												     : DROP_CHECKSUM;
	}
	p.l4 = PKT_L3 + ip->ihl * 4;
	pkt_pull(skb, p.l4);
	if (pkt_is_source_routed(skb, p.l4))
		return DROP_SOURCE_ROUTE;
	if (pkt_sum(&p, PKT_L3, (p.l4 - PKT_L3) / 4) != 0xffff)
		return DROP_CHECKSUM;
	return REASON_NONE;
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

static __always_inline enum reason pkt_parse_tcp(struct pkt *p)
{
	struct tcphdr *tcp = pkt_at(p->skb, p->l4, sizeof(*tcp));

	if (!tcp || p->l4 + sizeof(*tcp) > p->end)
		return DROP_TRANSPORT;
	p->sport = tcp->source;
	p->dport = tcp->dest;
	p->l4_len = tcp->doff * 4;
	p->tcp_seq = bpf_ntohl(tcp->seq);
	p->tcp_ack = bpf_ntohl(tcp->ack_seq);
	p->tcp_flags = ((__u8 *)tcp)[13];
	return REASON_NONE;
}

static __always_inline enum reason pkt_parse_udp(struct pkt *p)
{
	struct udphdr *udp = pkt_at(p->skb, p->l4, sizeof(*udp));

	if (!udp || p->l4 + sizeof(*udp) > p->end)
		return DROP_TRANSPORT;
	p->sport = udp->source;
	p->dport = udp->dest;
	p->l4_len = sizeof(*udp);

	return REASON_NONE;
}

static __always_inline enum reason pkt_parse_icmp(struct pkt *p)
{
	struct icmphdr *icmp = pkt_at(p->skb, p->l4, sizeof(*icmp));

	if (!icmp || p->l4 + sizeof(*icmp) > p->end)
		return DROP_TRANSPORT;
	p->l4_len = sizeof(*icmp);
	p->icmp_type = icmp->type;
	if (icmp_is_request(icmp->type) || icmp_is_reply(icmp->type))
		p->sport = icmp->id;
	return REASON_NONE;
}

/* The transport header of a packet that is whole. Protocols without ports: PASS_PROTOCOL. */
static __always_inline enum reason pkt_parse_l4(struct pkt *p)
{
	if (p->options) /* PKT_HEADERS did not reach over them */
		pkt_pull(p->skb, p->l4 + sizeof(struct tcphdr));
	switch (p->proto) {
	case IPPROTO_TCP:
		return pkt_parse_tcp(p);
	case IPPROTO_UDP:
		return pkt_parse_udp(p);
	case IPPROTO_ICMP:
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
	return p->l4 - PKT_L3 + p->l4_len + skb->gso_size <= mtu;
}

#endif
