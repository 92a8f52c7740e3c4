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

/*
 * The most that is read: of IPv4 two IP headers with options, the ICMP header, and 8 octets of the quoted transport header. Offsets of IPv6
 * end where those end that are looked at, see frame.h.
 */
#define ICMP_HEADERS (PKT_L3 + 60 + sizeof(struct icmphdr) + 60 + 8)

/* The quoted packet, as far as translation goes. */
struct icmp_quote {
	addr_t src;
	addr_t dst;
	__u32 l3; /* offset of the quoted IP header */
	__u32 l4;
	__be16 sport; /* ICMP query: the identifier */
	__be16 dport; /* ICMP query: 0 */
	__u8 proto;
};

static __always_inline bool icmp_is_error_packet(const struct pkt *p)
{
	return p->h->proto == PROTO_ICMP && icmp_is_error(p->h->icmp_type);
}

/* Ports of TCP and UDP, or the identifier of an ICMP query. False: nothing that a session could be found by. */
static __always_inline bool icmp_quote_ports(const struct pkt *p, struct icmp_quote *q)
{
	__be16 *at = pkt_at(p->skb, q->l4, 8);

	if (!at || q->l4 + 8 > p->h->end) /* a short frame's padding is no quotation */
		return false;
	if (q->proto == IPPROTO_TCP || q->proto == IPPROTO_UDP) {
		q->sport = at[0];
		q->dport = at[1];
		return true;
	}
	q->sport = at[2];
	q->dport = 0;
	return q->proto == PROTO_ICMP && (icmp_is_request(*(__u8 *)at) || icmp_is_reply(*(__u8 *)at));
}

static __always_inline bool icmp_quote_parse(const struct pkt *p, struct icmp_quote *q)
{
	__u8 *at;

	pkt_pull(p->skb, FAMILY == 6 ? PKT_OFFSET_MASK : ICMP_HEADERS);
	q->l3 = p->h->l4 + sizeof(struct icmphdr);
	at = pkt_at(p->skb, q->l3, IP_HEADER_LEN);
	if (!at || !ip_is_quotable(p->skb, at, q->l3, p->h->end, &q->proto, &q->l4))
		return false;
	at = pkt_at(p->skb, q->l3, IP_HEADER_LEN);
	if (!at)
		return false;
	q->src = addr_load(at + IP_SOURCE);
	q->dst = addr_load(at + IP_SOURCE + ADDR_LEN);
	return icmp_quote_ports(p, q);
}

/*
 * Rewrites one end of the quoted packet. IPv4: the quoted IP header sums to the same before and after, since its own checksum makes up
 * for the address; so the ICMP checksum changes by the port alone. IPv6 has none, and it changes by both. The quoted transport checksum is
 * left: it may be cut off, and nobody checks it (RFC 5508 section 3.1).
 */
static __always_inline enum reason icmp_quote_translate(const struct pkt *p, const struct icmp_quote *q, enum translate_end end,
							addr_t addr, __be16 port)
{
	struct icmphdr *icmp = pkt_at(p->skb, p->h->l4, sizeof(*icmp) + IP_HEADER_LEN);
	__u8 *quoted = (void *)(icmp + 1);
	__u8 *octets = quoted + IP_SOURCE + (end == TRANSLATE_SOURCE ? 0 : ADDR_LEN);
	__u32 at = q->proto == PROTO_ICMP ? 4 : end == TRANSLATE_SOURCE ? 0 : 2;
	addr_t was = end == TRANSLATE_SOURCE ? q->src : q->dst;
	__be16 *old;

	if (!icmp)
		return DROP_MALFORMED;
	if (FAMILY == 6)
		icmp->checksum = csum_replace16(icmp->checksum, csum_addr(was), csum_addr(addr));
	else
		((struct iphdr *)quoted)->check = csum_replace32(((struct iphdr *)quoted)->check, (__be32)was, (__be32)addr);
	addr_store(octets, addr);
	old = pkt_at(p->skb, q->l4 + at, sizeof(*old));
	if (!old)
		return DROP_MALFORMED;
	icmp->checksum = csum_replace16(icmp->checksum, *old, port);
	*old = port;
	return REASON_NONE;
}

/*
 * What makes an error invalid (RFC 5508 REQ-3): REASON_NONE, or why it is dropped. The quoted header's octets are those from quoted to
 * quoted_l4. Global, for the verifier's sake.
 */
__noinline int icmp_judge(struct __sk_buff *skb, __u32 l4, __u32 end, __u32 quoted, __u32 quoted_l4)
{
	if (quoted >= quoted_l4 || quoted_l4 > end || !message_is_whole(skb, l4, end, ip_pseudo(skb, end - l4)))
		return DROP_CHECKSUM;
	if (FAMILY == 4 && pkt_sum(skb, quoted, (quoted_l4 - quoted) / 4) != 0xffff)
		return DROP_CHECKSUM;
	return REASON_NONE;
}

/* What the outside calls the flow whose outbound packet is quoted. */
static __always_inline struct reply_key icmp_quote_reply_key(const struct icmp_quote *q)
{
	struct reply_key key = { .remote_port = q->dport, .outside_port = q->sport, .proto = q->proto };

	addr_store(key.remote, q->dst);
	addr_store(key.outside, q->src);
	return key;
}

/* The session whose reply is quoted, which the inside or the host complains of; NULL if there is none. */
static __always_inline struct session_entry *icmp_quote_session(const struct icmp_quote *q, __u32 now)
{
	bool query = q->proto == PROTO_ICMP;
	struct session_key key = {
		.inside_port = query ? q->sport : q->dport,
		.remote_port = query ? 0 : q->sport,
		.proto = q->proto,
	};
	struct session_entry *s;

	addr_store(key.inside, q->dst);
	addr_store(key.remote, q->src);
	s = bpf_map_lookup_elem(&fo_sessions, &key);
	return s && session_is_live(session_life_load(&s->life), key.proto, now) ? s : NULL;
}

/*
 * An error on its way out, by an endpoint or by the host itself: the quoted destination becomes what the outside knows, and so
 * does an inside source. *mine: the quotation is about a session.
 */
static __always_inline enum reason icmp_translate_out(const struct pkt *p, bool inside, bool *mine)
{
	struct session_entry *s;
	struct icmp_quote q;
	enum reason reason;
	addr_t outside;

	*mine = false;
	if (!icmp_quote_parse(p, &q))
		return REASON_NONE;
	if (inside && q.dst != p->h->src) /* about somebody else's session */
		return REASON_NONE;
	s = icmp_quote_session(&q, session_now());
	if (!s)
		return REASON_NONE;
	*mine = true;
	outside = addr_load(s->outside);
	reason = icmp_quote_translate(p, &q, TRANSLATE_DESTINATION, outside, s->outside_port);
	if (reason || !inside)
		return reason;
	return translate_error(p, TRANSLATE_SOURCE, outside, 0);
}

#endif
