/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* error.h - the paths of ICMP errors about sessions (RFC 5508 sections 4 and 7): from outside, and from inside by an outside port of ours. */
#ifndef FLYOVER_ERROR_H
#define FLYOVER_ERROR_H

#include "deliver.h"
#include "endpoint.h"
#include "family.h"
#include "icmp.h"
#include "kernel.h"
#include "network.h"
#include "owner.h"
#include "pkt.h"
#include "reason.h"
#include "session.h"
#include "translate.h"

/* An ICMP error from outside about a session. */
static __always_inline enum reason error_in(struct pkt *p, __u32 uplink)
{
	struct network_entry *net = NULL;
	struct endpoint_entry *ep = NULL;
	struct reply_owner owner = {};
	struct reply_key key;
	struct icmp_quote q;
	enum reason reason;
	bool host; /* the session is the host's own: the stack takes it from here */

	if (!icmp_quote_parse(p, &q) || q.src != p->h->dst)
		return deliver_unasked(p, PASS_NO_SESSION);
	key = icmp_quote_reply_key(&q);
	if (!owner_find(uplink, &key, &owner) || !session_is_live(owner.life, key.proto, session_now()))
		return deliver_unasked(p, PASS_NO_SESSION);
	reason = icmp_judge(p->skb, p->h->l4, p->h->end, q.l3, q.l4);
	if (reason)
		return reason;
	reason = deliver_owner(owner.endpoint, owner.inside, &ep, &net);
	host = reason;
	if (host && !deliver_is_gateway(owner.endpoint, owner.inside))
		return reason;
	reason = icmp_quote_translate(p, &q, TRANSLATE_SOURCE, owner.inside, owner.inside_port);
	if (!reason)
		reason = translate_error(p, TRANSLATE_DESTINATION, owner.inside, !host && p->h->ttl > 1 ? 1 : 0);
	if (reason || host)
		return reason ? reason : PASS_HOST;
	reason = deliver_in(p, ep, net, owner.endpoint);
	return reason ? reason : FORWARD_ICMP_IN;
}

/*
 * An error from inside about a packet that came by an outside port of ours: translated out and in again (RFC 5508 REQ-7). An enum
 * reason; REASON_NONE: it is about no such packet. Global, as forward_hairpin().
 */
__noinline int error_hairpin(struct __sk_buff *skb)
{
	struct session_entry *s;
	struct icmp_quote q;
	addr_t outside;
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_FUNCTION) };
	__u32 uplink;

	if (pkt_parse(&p) || pkt_parse_l4(&p) || !icmp_quote_parse(&p, &q) || q.dst != p.h->src)
		return REASON_NONE;
	s = icmp_quote_session(&q, session_now());
	if (!s || addr_load(s->outside) != p.h->dst)
		return REASON_NONE;
	outside = addr_load(s->outside);
	uplink = s->uplink;
	if (icmp_quote_translate(&p, &q, TRANSLATE_DESTINATION, outside, s->outside_port) ||
	    translate_error(&p, TRANSLATE_SOURCE, outside, 0) || pkt_parse(&p) || pkt_parse_l4(&p))
		return DROP_ICMP;
	return error_in(&p, uplink) == FORWARD_ICMP_IN ? FORWARD_HAIRPIN : DROP_ICMP;
}

#endif
