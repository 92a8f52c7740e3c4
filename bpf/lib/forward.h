/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* forward.h - the packet paths: endpoint to endpoint, endpoint to outside, outside to endpoint, and what the stack sends out. */
#ifndef FLYOVER_FORWARD_H
#define FLYOVER_FORWARD_H

#include "endpoint.h"
#include "fdb.h"
#include "icmp.h"
#include "kernel.h"
#include "masquerade.h"
#include "neighbour.h"
#include "network.h"
#include "pkt.h"
#include "reason.h"
#include "session.h"
#include "translate.h"
#include "uplink.h"

/*
 * skb->tc_index of a packet that from_endpoint has translated, for to_uplink on its way out. It counts only on a packet that came
 * in by an endpoint, where from_endpoint clears what a namespace may have put there.
 */
#define FORWARD_TRANSLATED 0xf10e

static __always_inline bool forward_was_translated(const struct __sk_buff *skb)
{
	return skb->tc_index == FORWARD_TRANSLATED && endpoint_lookup(skb->ingress_ifindex);
}

/* A frame for another MAC of the network. */
static __always_inline enum reason forward_frame(struct pkt *p, const struct endpoint_entry *ep)
{
	struct fdb_entry *to;

	if (p->destination[0] & 1)
		return PASS_BROADCAST;
	to = fdb_lookup(ep->network, p->destination);
	if (!to || to->ifindex == p->skb->ifindex) /* never back out of its source (802.1D 7.7) */
		return DROP_UNKNOWN_MAC;
	fdb_deliver(p->skb, to->ifindex, to->endpoint);
	return FORWARD_ENDPOINT;
}

/* What cannot take the fast path to the outside, whatever its session: the stack answers, fragments or routes it. */
static __always_inline enum reason forward_routable(struct pkt *p)
{
	enum reason reason;

	if (p->fragment)
		return PASS_FRAGMENT;
	if (p->options)
		return PASS_OPTIONS;
	if (p->ttl <= 1)
		return PASS_TTL;
	reason = pkt_parse_l4(p);
	if (!reason && p->proto == IPPROTO_ICMP && !icmp_is_request(p->icmp_type))
		return PASS_PROTOCOL;
	return reason;
}

/*
 * May the stack have a packet of a masqueraded network? It would send it out of any interface that the host has a route by, and
 * only uplinks have to_uplink on them. Other networks of the host are inside too.
 */
static __always_inline enum reason forward_by_stack(struct pkt *p, const struct network_entry *net, enum reason reason)
{
	struct route route = uplink_route(p, net->bridge, 0);

	if (!route.ifindex || uplink_lookup(route.ifindex))
		return reason;
	return uplink_inside(p->dst) ? PASS_ROUTE : DROP_ROUTE;
}

/* The session of a packet to the outside: found, brought up to date with the host's routes, or made. */
static __always_inline enum reason forward_session(struct pkt *p, const struct network_entry *net, struct session4_entry **s)
{
	struct session4_request req = { .key = session4_key_of(p), .endpoint = p->skb->ifindex };
	struct route route;
	bool stale = false;

	*s = masquerade_find(p, &req.key, req.endpoint, &stale);
	if (*s && !stale)
		return REASON_NONE;
	route = uplink_route(p, net->bridge, 0);
	if (*s && masquerade_refresh(p, *s, route))
		return REASON_NONE;
	if (!route.ifindex)
		return PASS_HOST;
	if (!uplink_lookup(route.ifindex))
		return uplink_inside(p->dst) ? PASS_ROUTE : DROP_ROUTE;
	req.uplink = route.ifindex;
	req.next_hop = route.next_hop;
	return masquerade_make(p->skb, &req, s);
}

/* A packet whose session is known: translated and on its way. */
static __always_inline enum reason forward_translated(struct pkt *p, const struct session4_entry *s)
{
	struct bpf_redir_neigh next = { .nh_family = AF_INET, .ipv4_nh = addr4_load(s->next_hop) };
	__u32 uplink = s->uplink;
	enum reason reason;

	if (!pkt_fits(p, s->mtu))
		return PASS_MTU;
	reason = translate(p, TRANSLATE_SOURCE, addr4_load(s->outside), s->outside_port, 1);
	if (reason)
		return reason;
	p->skb->tc_index = FORWARD_TRANSLATED;
	bpf_redirect_neigh(uplink, &next, sizeof(next), 0);
	return FORWARD_OUTSIDE;
}

/* A packet for the gateway's MAC: to the outside, or to the host. */
static __always_inline enum reason forward_outside(struct pkt *p, const struct network_entry *net)
{
	struct session4_entry *s = NULL;
	enum reason reason;

	if (p->ethertype != bpf_htons(ETH_P_IP))
		return PASS_ETHERTYPE;
	if (network_contains(net, p->dst))
		return PASS_HOST;
	if (!(net->flags & NETWORK_MASQUERADE))
		return PASS_ROUTED;
	reason = forward_routable(p);
	if (reason >= (enum reason)REASON_DROP_FIRST)
		return reason;
	if (reason)
		return forward_by_stack(p, net, reason);
	reason = forward_session(p, net, &s);
	if (reason)
		return reason;
	return s ? forward_translated(p, s) : DROP_SESSION_RACE;
}

/* Is the index entry's session live? Follows the TCP state by the reply's flags. */
static __always_inline bool forward_reply_is_live(const struct pkt *p, const struct reply4_key *key, struct reply4_entry *r)
{
	struct session_life life = session_life_load(&r->life);
	__u32 now = session_now();
	struct session4_key session_key;
	struct session4_entry *s;

	if (!session_is_live(life, key->proto, now))
		return false;
	if (!(p->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST)) && life.state != SESSION_OPENING)
		return true;
	session_key = reply4_session_key(key, r);
	s = bpf_map_lookup_elem(&fo_sessions4, &session_key);
	if (!s || s->outside_port != key->outside_port || addr4_load(s->outside) != addr4_load(key->outside))
		return false;
	return session4_touch(&session_key, s, session_life_load(&s->life), p->tcp_flags, 0, now);
}

/* The owner of a reply, or why there is none: an address that went to another endpoint does not take its sessions along. */
static __always_inline enum reason forward_owner(__u32 ifindex, __be32 inside, struct endpoint_entry **ep,
						 struct network_entry **net)
{
	*ep = endpoint_lookup(ifindex);
	if (!*ep || addr4_load((*ep)->addr4) != inside)
		return DROP_NO_ENDPOINT;
	*net = network_lookup((*ep)->network);
	return *net ? REASON_NONE : DROP_NO_ENDPOINT;
}

/* Is the session the host's own, from its address on the network? */
static __always_inline bool forward_is_gateway(__u32 ifindex, __be32 inside)
{
	struct subnet_entry *subnet = uplink_inside(inside);
	struct network_entry *net = subnet ? network_lookup(subnet->network) : NULL;

	return net && net->bridge == ifindex && addr4_load(net->gateway4) == inside;
}

/* The last step inwards: the frame gets the network's addresses and goes into the endpoint. */
static __always_inline enum reason forward_into(struct pkt *p, const struct endpoint_entry *ep, const struct network_entry *net,
						__u32 ifindex)
{
	struct ethhdr *eth = pkt_at(p->skb, 0, sizeof(*eth));

	if (!eth)
		return DROP_MALFORMED;
	mac_copy(eth->h_dest, ep->mac);
	mac_copy(eth->h_source, net->gateway_mac);
	fdb_deliver(p->skb, ifindex, ep->id);
	return REASON_NONE;
}

/*
 * What belongs to no session is the host's, unless it is meant for an inside address: that comes in as a reply or not at all.
 * Nor does an inside address come from there: the stack would send its packets out again as an endpoint's.
 */
static __always_inline enum reason forward_unasked(const struct pkt *p, enum reason reason)
{
	if (uplink_inside(p->src))
		return DROP_SOURCE_IPV4;
	return uplink_inside(p->dst) ? DROP_UNSOLICITED : reason;
}

/*
 * The reply of a session. One whose TTL runs out, or that the network's MTU does not let through, is translated and left to the
 * stack, which fragments it or answers; to_uplink translates the answer.
 */
static __always_inline enum reason forward_reply(struct pkt *p)
{
	struct network_entry *net = NULL;
	struct endpoint_entry *ep = NULL;
	struct reply4_key key = reply4_key_of(p);
	struct reply4_entry *r = bpf_map_lookup_elem(&fo_replies4, &key);
	enum reason reason, slow = REASON_NONE;
	__be16 inside_port;
	__be32 inside;
	__u32 ifindex;

	if (!r || !forward_reply_is_live(p, &key, r))
		return forward_unasked(p, PASS_NO_SESSION);
	ifindex = r->endpoint;
	inside = addr4_load(r->inside);
	inside_port = r->inside_port;
	reason = forward_owner(ifindex, inside, &ep, &net);
	if (reason && !forward_is_gateway(ifindex, inside))
		return reason;
	if (reason)
		slow = PASS_HOST;
	else if (p->ttl <= 1)
		slow = PASS_TTL;
	else if (!pkt_fits(p, net->mtu))
		slow = PASS_MTU;
	reason = translate(p, TRANSLATE_DESTINATION, inside, inside_port, slow ? 0 : 1);
	if (reason || slow)
		return reason ? reason : slow;
	reason = forward_into(p, ep, net, ifindex);
	return reason ? reason : FORWARD_INSIDE;
}

/* An ICMP error from outside about a session. */
static __always_inline enum reason forward_icmp_error(struct pkt *p)
{
	struct network_entry *net;
	struct endpoint_entry *ep;
	struct reply4_entry *r;
	struct icmp_quote q;
	enum reason reason;
	__be16 inside_port;
	__u32 ifindex;
	__be32 inside;

	if (!icmp_quote_parse(p, &q) || q.src != p->dst)
		return forward_unasked(p, PASS_NO_SESSION);
	r = icmp_quote_reply(&q, session_now());
	if (!r)
		return forward_unasked(p, PASS_NO_SESSION);
	inside = addr4_load(r->inside);
	inside_port = r->inside_port;
	ifindex = r->endpoint;
	reason = forward_owner(ifindex, inside, &ep, &net);
	if (!reason)
		reason = icmp_quote_translate(p, &q, TRANSLATE_SOURCE, inside, inside_port);
	if (!reason)
		reason = translate_ip(p, TRANSLATE_DESTINATION, inside, p->ttl > 1 ? 1 : 0);
	if (!reason)
		reason = forward_into(p, ep, net, ifindex);
	return reason ? reason : FORWARD_ICMP_IN;
}

/* A packet from an uplink: a reply, an error, or the host's. Fragments are the host's until they can be put together here. */
static __always_inline enum reason forward_inside(struct pkt *p)
{
	enum reason reason;

	if (p->fragment)
		return forward_unasked(p, PASS_FRAGMENT);
	reason = pkt_parse_l4(p);
	if (reason)
		return forward_unasked(p, PASS_NO_SESSION);
	if (p->proto != IPPROTO_ICMP || icmp_is_reply(p->icmp_type))
		return forward_reply(p);
	return icmp_is_error(p->icmp_type) ? forward_icmp_error(p) : forward_unasked(p, PASS_NO_SESSION);
}

/* The session of a packet that took the slow path. The stack says no more of where it came from than its address. */
static __always_inline enum reason forward_slow_session(struct pkt *p, __u32 network, struct session4_entry **s)
{
	struct session4_request req = { .key = session4_key_of(p), .uplink = p->skb->ifindex };
	struct neighbour_entry *owner = neighbour4_lookup(network, p->src);
	bool stale = false;

	if (!owner)
		return DROP_NO_ENDPOINT;
	req.endpoint = owner->ifindex;
	*s = masquerade_find(p, &req.key, req.endpoint, &stale);
	if (*s && (*s)->uplink == req.uplink)
		return REASON_NONE;
	if (*s) /* the stack knows a better way */
		masquerade_end(*s);
	return masquerade_make(p->skb, &req, s);
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
	struct session4_entry *s = NULL;
	enum reason reason;
	bool mine;

	if (!forward_came_from(p, network))
		return DROP_SOURCE_IPV4;
	if (p->fragment)
		return DROP_FRAGMENT;
	reason = pkt_parse_l4(p);
	if (reason)
		return reason == PASS_PROTOCOL ? DROP_PROTOCOL : reason;
	if (icmp_is_error_packet(p)) {
		reason = icmp_translate_out(p, true, &mine);
		return reason ? reason : mine ? PASS_TO_UPLINK : DROP_ICMP;
	}
	if (p->proto == IPPROTO_ICMP && !icmp_is_request(p->icmp_type))
		return DROP_ICMP;
	reason = forward_slow_session(p, network, &s);
	if (reason)
		return reason;
	if (!s)
		return DROP_SESSION_RACE;
	reason = translate(p, TRANSLATE_SOURCE, addr4_load(s->outside), s->outside_port, 0);
	return reason ? reason : PASS_TO_UPLINK;
}

/* The host's own packet to an uplink. Its errors about translated packets quote what the outside has never seen. */
static __always_inline enum reason forward_own(struct pkt *p)
{
	enum reason reason;
	bool mine;

	if (p->proto != IPPROTO_ICMP || p->fragment || pkt_parse_l4(p) || !icmp_is_error_packet(p))
		return PASS_OWN;
	reason = icmp_translate_out(p, false, &mine);
	return reason ? reason : mine ? PASS_ICMP : PASS_OWN;
}

#endif
