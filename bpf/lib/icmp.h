/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * icmp.h - ICMP errors about translated packets (RFC 5508 sections 4 and 5). An error quotes the packet that it is about: at
 * least 8 octets behind the IP header, so ports and identifiers are there, and the rest is left as it is (RFC 4884 extensions
 * too). Such an error neither refreshes nor ends a session.
 */
#ifndef FLYOVER_ICMP_H
#define FLYOVER_ICMP_H

#include "kernel.h"
#include "masquerade.h"
#include "message.h"
#include "pkt.h"
#include "reason.h"
#include "session.h"
#include "translate.h"

/* The most that is read: two IP headers with options, the ICMP header, and 8 octets of the quoted transport header. */
#define ICMP_HEADERS (PKT_L3 + 60 + sizeof(struct icmphdr) + 60 + 8)

/* The quoted packet, as far as translation goes. */
struct icmp_quote {
	__u32 l3; /* offset of the quoted IP header */
	__u32 l4;
	__be32 src;
	__be32 dst;
	__be16 sport; /* ICMP query: the identifier */
	__be16 dport; /* ICMP query: 0 */
	__u8 proto;
};

static __always_inline bool icmp_is_error_packet(const struct pkt *p)
{
	return p->proto == IPPROTO_ICMP && icmp_is_error(p->icmp_type);
}

/* Ports of TCP and UDP, or the identifier of an ICMP query. False: nothing that a session could be found by. */
static __always_inline bool icmp_quote_ports(const struct pkt *p, struct icmp_quote *q)
{
	__be16 *at = pkt_at(p->skb, q->l4, 8);

	if (!at || q->l4 + 8 > p->end) /* a short frame's padding is no quotation */
		return false;
	if (q->proto == IPPROTO_TCP || q->proto == IPPROTO_UDP) {
		q->sport = at[0];
		q->dport = at[1];
		return true;
	}
	q->sport = at[2];
	q->dport = 0;
	return q->proto == IPPROTO_ICMP && (icmp_is_request(*(__u8 *)at) || icmp_is_reply(*(__u8 *)at));
}

static __always_inline bool icmp_quote_parse(const struct pkt *p, struct icmp_quote *q)
{
	struct iphdr *ip;

	pkt_pull(p->skb, ICMP_HEADERS);
	q->l3 = p->l4 + sizeof(struct icmphdr);
	ip = pkt_at(p->skb, q->l3, sizeof(*ip));
	if (!ip || ip->version != 4 || ip->ihl < 5 || (ip->frag_off & bpf_htons(IP_OFFSET)))
		return false;
	q->src = ip->saddr;
	q->dst = ip->daddr;
	q->proto = ip->protocol;
	q->l4 = q->l3 + ip->ihl * 4;
	return icmp_quote_ports(p, q);
}

/*
 * Rewrites one end of the quoted packet. The quoted IP header sums to the same before and after, since its own checksum makes up
 * for the address; so the ICMP checksum changes by the port alone. The quoted transport checksum is left: it may be cut off,
 * and nobody checks it (RFC 5508 section 3.1).
 */
static __always_inline enum reason icmp_quote_translate(const struct pkt *p, const struct icmp_quote *q, enum translate_end end,
							__be32 addr, __be16 port)
{
	struct icmphdr *icmp = pkt_at(p->skb, p->l4, sizeof(*icmp) + sizeof(struct iphdr));
	struct iphdr *ip = (void *)(icmp + 1);
	__u32 at = q->proto == IPPROTO_ICMP ? 4 : end == TRANSLATE_SOURCE ? 0 : 2;
	__be16 *old;

	if (!icmp)
		return DROP_MALFORMED;
	ip->check = csum_replace32(ip->check, end == TRANSLATE_SOURCE ? ip->saddr : ip->daddr, addr);
	if (end == TRANSLATE_SOURCE)
		ip->saddr = addr;
	else
		ip->daddr = addr;
	old = pkt_at(p->skb, q->l4 + at, sizeof(*old));
	if (!old)
		return DROP_MALFORMED;
	icmp->checksum = csum_replace16(icmp->checksum, *old, port);
	*old = port;
	return REASON_NONE;
}

/* What makes an error invalid (RFC 5508 REQ-3): REASON_NONE, or why it is dropped. Global, for the verifier's sake. */
__noinline int icmp_judge(struct __sk_buff *skb, __u32 l4, __u32 end, __u32 quoted, __u32 quoted_l4)
{
	struct pkt p = { .skb = skb };

	if (!message_is_whole(skb, l4, end, 0) || pkt_sum(&p, quoted, (quoted_l4 - quoted) / 4) != 0xffff)
		return DROP_CHECKSUM;
	return REASON_NONE;
}

/* What the outside calls the flow whose outbound packet is quoted. */
static __always_inline struct reply4_key icmp_quote_reply_key(const struct icmp_quote *q)
{
	struct reply4_key key = { .remote_port = q->dport, .outside_port = q->sport, .proto = q->proto };

	addr4_store(key.remote, q->dst);
	addr4_store(key.outside, q->src);
	return key;
}

/* The session whose reply is quoted, which the inside or the host complains of; NULL if there is none. */
static __always_inline struct session4_entry *icmp_quote_session(const struct icmp_quote *q, __u32 now)
{
	bool query = q->proto == IPPROTO_ICMP;
	struct session4_key key = {
		.inside_port = query ? q->sport : q->dport,
		.remote_port = query ? 0 : q->sport,
		.proto = q->proto,
	};
	struct session4_entry *s;

	addr4_store(key.inside, q->dst);
	addr4_store(key.remote, q->src);
	s = bpf_map_lookup_elem(&fo_sessions4, &key);
	return s && session_is_live(session_life_load(&s->life), key.proto, now) ? s : NULL;
}

/*
 * An error on its way out, by an endpoint or by the host itself: the quoted destination becomes what the outside knows, and so
 * does an inside source. *mine: the quotation is about a session.
 */
static __always_inline enum reason icmp_translate_out(const struct pkt *p, bool inside, bool *mine)
{
	struct session4_entry *s;
	struct icmp_quote q;
	enum reason reason;
	__be32 outside;

	*mine = false;
	if (!icmp_quote_parse(p, &q))
		return REASON_NONE;
	if (inside && q.dst != p->src) /* about somebody else's session */
		return REASON_NONE;
	s = icmp_quote_session(&q, session_now());
	if (!s)
		return REASON_NONE;
	*mine = true;
	outside = addr4_load(s->outside);
	reason = icmp_quote_translate(p, &q, TRANSLATE_DESTINATION, outside, s->outside_port);
	if (reason || !inside)
		return reason;
	return translate_ip(p, TRANSLATE_SOURCE, outside, 0);
}

#endif
