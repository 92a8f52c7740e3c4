/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* forward.h - the packet paths: endpoint to outside, outside to endpoint, and what the stack sends out. */
#ifndef FLYOVER_FORWARD_H
#define FLYOVER_FORWARD_H

#include "between.h"
#include "datagram.h"
#include "deliver.h"
#include "endpoint.h"
#include "error.h"
#include "exempt.h"
#include "icmp.h"
#include "kernel.h"
#include "masquerade.h"
#include "neighbour.h"
#include "network.h"
#include "owner.h"
#include "pkt.h"
#include "reason.h"
#include "session.h"
#include "translate.h"
#include "uplink.h"
#include "usage.h"

/* What cannot take the fast path to the outside, whatever its session: the stack answers, fragments or routes it. */
static __always_inline enum reason forward_routable(struct pkt *p)
{
	enum reason reason;

	if (p->h->options)
		return PASS_OPTIONS;
	if (p->h->ttl <= 1)
		return PASS_TTL;
	reason = pkt_parse_l4(p);
	if (!reason && p->h->proto == PROTO_ICMP && !icmp_is_request(p->h->icmp_type))
		return PASS_PROTOCOL;
	return reason;
}

/* The uplink whose address the packet is for, if the port there stands for an inside. */
static __always_inline struct route forward_hairpin_route(const struct pkt *p)
{
	struct bitmap_entry *b = p->h->proto == PROTO_ICMP ? NULL : bitmap_lookup(p->h->dst, p->h->proto);

	return (struct route){ .ifindex = b && bitmap_has(b, bpf_ntohs(p->h->dport)) ? READ_ONCE(b->uplink) : 0 };
}

/* The session of a packet to the outside: found, brought up to date with the host's routes, or made. */
static __always_inline enum reason forward_session(struct pkt *p, __u32 network, const struct network_entry *net,
						   struct session_entry **s)
{
	struct session_key key = session_key_of(p);
	struct route route;
	bool stale = false;

	*s = masquerade_find(p, &key, p->skb->ifindex, &stale);
	if (*s && (!stale || session_is_hairpin(p, *s)))
		return REASON_NONE;
	if (subnet_lookup(p->h->dst))
		return PASS_ROUTE;
	route = uplink_route(p, net->bridge, 0);
	if (*s && masquerade_refresh(p, &key, *s, net, route))
		return REASON_NONE;
	if (!route.ifindex)
		route = forward_hairpin_route(p);
	if (!route.ifindex)
		return PASS_HOST;
	if (!uplink_lookup(route.ifindex))
		return DROP_ROUTE;
	return masquerade_make(p, &key, p->skb->ifindex, network, route, s);
}

/*
 * What belongs to no session, with ports. A SYN to the ports of the translation is not answered: its connection may be opened from
 * inside at the same moment (RFC 5382 REQ-4). The host's own sockets there get theirs.
 */
static __always_inline enum reason forward_unknown(struct pkt *p, __u32 uplink)
{
	struct uplink_entry *up = uplink_lookup(uplink);
	struct reply_key key = reply_key_of(p);
	__u16 port = bpf_ntohs(p->h->dport);

	if (up && p->h->proto == IPPROTO_TCP && tcp_begins(p->h->tcp_flags) == SESSION_OPENING && !(p->h->tcp_flags & TCP_RST) &&
	    p->h->dst == uplink_source(up) && port >= up->port_first && port <= up->port_last &&
	    !port_is_host_socket(p->skb, &key))
		return DROP_UNSOLICITED;
	return deliver_unasked(p, PASS_NO_SESSION);
}

/*
 * The reply of a session. One whose TTL runs out, or that the network's MTU does not let through, is translated and left to the
 * stack, which fragments it or answers; to_uplink translates the answer. REASON_NONE: nobody's.
 */
static __always_inline enum reason forward_reply(struct pkt *p, __u32 uplink, bool fragment)
{
	struct network_entry *net = NULL;
	struct endpoint_entry *ep = NULL;
	struct reply_owner owner = {};
	struct reply_key key = reply_key_of(p);
	enum reason reason, slow = REASON_NONE;

	if (!owner_find(uplink, &key, &owner) || !owner_wants(p, &owner))
		return REASON_NONE;
	reason = deliver_owner(owner.endpoint, owner.inside, &ep, &net);
	if (reason && !deliver_is_gateway(owner.endpoint, owner.inside))
		return reason;
	if (reason)
		slow = PASS_HOST;
	else if (p->h->ttl <= 1)
		slow = PASS_TTL;
	else if (!pkt_fits(p, net->mtu))
		slow = PASS_MTU;
	if (fragment && !datagram_note_in(p->skb, uplink, DATAGRAM_TRANSLATED, &owner.inside, owner.endpoint))
		return DROP_FRAGMENT;
	reason = translate(p, TRANSLATE_DESTINATION, owner.inside, owner.inside_port, slow ? 0 : 1);
	if (reason || slow)
		return reason ? reason : slow;
	reason = deliver_in(p, ep, net, owner.endpoint);
	return reason ? reason : FORWARD_INSIDE;
}

/*
 * A packet that has been translated and is for an outside port of ours: what it is from now on is parsed anew, and goes in as if it
 * had come by the uplink, one hop in all. An enum reason. A global function, to have its own stack.
 */
__noinline int forward_hairpin(struct __sk_buff *skb, __u32 uplink)
{
	enum reason reason;
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_FUNCTION) };

	reason = pkt_parse(&p);
	if (!reason)
		reason = pkt_parse_l4(&p);
	if (reason)
		return DROP_MALFORMED;
	reason = forward_reply(&p, uplink, false);
	if (!reason)
		return DROP_UNSOLICITED;
	return reason == FORWARD_INSIDE ? FORWARD_HAIRPIN : reason;
}

/* A packet whose session is known: translated and on its way; id is the new identification of a fragment. */
static __always_inline enum reason forward_translated(struct pkt *p, const struct session_entry *s, __be32 id)
{
	bool hairpin = session_is_hairpin(p, s);
	addr_t next_hop = addr_load(s->next_hop);
	__u32 uplink = s->uplink;
	enum reason reason;

	if (!hairpin && !pkt_fits(p, s->mtu))
		return PASS_MTU;
	reason = translate(p, TRANSLATE_SOURCE, addr_load(s->outside), s->outside_port, hairpin ? 0 : 1);
	if (!reason && p->h->fragment)
		reason = translate_id(p, id);
	if (reason)
		return reason;
	if (hairpin)
		return forward_hairpin(p->skb, uplink);
	return deliver_out(p->skb, uplink, next_hop);
}

/* A packet for the gateway's MAC: to the outside, or to the host. */
static __always_inline enum reason forward_outside(struct pkt *p, __u32 network, const struct network_entry *net)
{
	struct session_entry *s = NULL;
	enum reason reason;
	__be32 id = 0;

	if (network_contains(net, p->h->dst) || addr_is_link_local(p->h->dst))
		return deliver_on_link(network, net, p->h->dst, PASS_HOST);
	reason = ip_judge(p->skb);
	if (reason)
		return reason;
	if (!(net->flags & NETWORK_MASQUERADE) || ((net->flags & NETWORK_EXEMPT) && exempt_has(network, p->h->dst)))
		return between_networks(p, network, net, PASS_ROUTED);
	if (!p->h->first)
		return datagram_later_out(p->skb, net->bridge);
	reason = forward_routable(p);
	if (reason == PASS_PROTOCOL && icmp_is_error_packet(p)) {
		enum reason back = error_hairpin(p->skb);

		if (back)
			return back;
	}
	if (!reason)
		reason = forward_session(p, network, net, &s);
	else if (reason < (enum reason)REASON_DROP_FIRST)
		reason = deliver_by_stack(p, net->bridge, reason);
	if (reason == PASS_ROUTE)
		reason = between_networks(p, network, net, PASS_ROUTE);
	if (!reason && !s)
		reason = DROP_SESSION_RACE;
	if (p->h->fragment)
		reason = datagram_first_out(p, s, reason, false, &id);
	return reason || !s ? reason : forward_translated(p, s, id);
}

/* A packet from an uplink: a reply, an error, or the host's. */
static __always_inline enum reason forward_inside(struct pkt *p)
{
	__u32 uplink = p->skb->ifindex;
	enum reason reason;

	if (addr_is_link_local(p->h->src) || addr_is_link_local(p->h->dst)) /* a neighbour's, which no router passes on */
		return PASS_NO_SESSION;
	reason = ip_judge(p->skb);
	if (reason)
		return reason;
	if (p->h->src == p->h->dst) /* our own address, which no neighbour has: a hairpin's permission is not for who forges it */
		return DROP_MARTIAN;
	if (p->h->fragment && (!datagram_is_ours(p) || uplink_inside(p->h->src)))
		return deliver_unasked(p, PASS_FRAGMENT);
	if (!p->h->first)
		return datagram_later_in(p->skb);
	reason = pkt_parse_l4(p);
	if (!reason && (p->h->proto != PROTO_ICMP || icmp_is_reply(p->h->icmp_type))) {
		reason = forward_reply(p, uplink, p->h->fragment);
		if (reason)
			return reason;
		return p->h->fragment ? datagram_host(p, uplink) : forward_unknown(p, uplink);
	}
	if (p->h->fragment)
		return datagram_host(p, uplink);
	if (reason || !icmp_is_error(p->h->icmp_type))
		return deliver_unasked(p, PASS_NO_SESSION);
	return error_in(p, uplink);
}

/* The session of a packet that took the slow path. The stack says no more of where it came from than its address. */
static __always_inline enum reason forward_slow_session(struct pkt *p, __u32 network, struct session_entry **s)
{
	struct session_key key = session_key_of(p);
	struct neighbour_entry *owner = neighbour_lookup(network, p->h->src);
	struct route route = { .ifindex = p->skb->ifindex };
	bool stale = false;

	if (!owner)
		return DROP_NO_ENDPOINT;
	*s = masquerade_find(p, &key, owner->ifindex, &stale);
	if (*s && (*s)->uplink == route.ifindex)
		return REASON_NONE;
	if (*s) /* the stack knows a better way */
		session_end(&key, *s);
	return masquerade_make(p, &key, owner->ifindex, network, route, s);
}

/* Did the packet come from where its inside source is: off the network's bridge, or from the host itself? */
static __always_inline bool forward_came_from(const struct pkt *p, __u32 network)
{
	struct network_entry *net = network_lookup(network);

	return net && (!p->skb->ingress_ifindex || p->skb->ingress_ifindex == net->bridge);
}

/* A packet from inside that the stack has routed to an uplink: translated here, or it does not leave. */
static __always_inline enum reason forward_slow(struct pkt *p, __u32 network)
{
	__be32 id = 0;
	struct session_entry *s = NULL;
	enum reason reason;
	bool mine;

	if (!forward_came_from(p, network))
		return FAMILY == 6 ? DROP_SOURCE_IPV6 : DROP_SOURCE_IPV4;
	if (exempt_has(network, p->h->dst))
		return PASS_ROUTED;
	if (!p->h->first)
		return datagram_slow_later(p->skb);
	reason = pkt_parse_l4(p);
	if (reason)
		return reason == PASS_PROTOCOL ? DROP_PROTOCOL : reason;
	if (icmp_is_error_packet(p)) {
		reason = icmp_translate_out(p, true, &mine);
		return reason ? reason : mine ? PASS_TO_UPLINK : DROP_ICMP;
	}
	if (p->h->proto == PROTO_ICMP && !icmp_is_request(p->h->icmp_type))
		return DROP_ICMP;
	reason = forward_slow_session(p, network, &s);
	if (reason)
		return reason;
	if (!s)
		return DROP_SESSION_RACE;
	if (p->h->fragment)
		reason = datagram_first_out(p, s, REASON_NONE, true, &id);
	if (!reason && p->h->fragment)
		reason = translate_id(p, id);
	if (!reason)
		reason = translate(p, TRANSLATE_SOURCE, addr_load(s->outside), s->outside_port, 0);
	return reason ? reason : PASS_TO_UPLINK;
}

/* The host's own packet to an uplink. Its errors about translated packets quote what the outside has never seen. */
static __always_inline enum reason forward_own(struct pkt *p)
{
	enum reason reason;
	bool mine;

	if (p->h->proto != PROTO_ICMP || p->h->fragment || pkt_parse_l4(p) || !icmp_is_error_packet(p))
		return PASS_OWN;
	reason = icmp_translate_out(p, false, &mine);
	return reason ? reason : mine ? PASS_ICMP : PASS_OWN;
}

#endif
