/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* between.h - the path from a network to another one of this host, which either of the two may refuse. */
#ifndef FLYOVER_BETWEEN_H
#define FLYOVER_BETWEEN_H

#include "deliver.h"
#include "endpoint.h"
#include "neighbour.h"
#include "network.h"
#include "pkt.h"
#include "reason.h"
#include "translate.h"
#include "uplink.h"

/* What a router does not just pass on: the stack answers or fragments it. */
static __always_inline enum reason between_routable(struct pkt *p, __u32 mtu)
{
	if (p->h->fragment) /* all of a datagram by one path */
		return PASS_FRAGMENT;
	if (p->h->options)
		return PASS_OPTIONS;
	if (p->h->ttl <= 1)
		return PASS_TTL;
	if (p->skb->gso_size && pkt_parse_l4(p)) /* how large its segments are is not known */
		return PASS_PROTOCOL;
	return pkt_fits(p, mtu) ? REASON_NONE : PASS_MTU;
}

/*
 * A packet that is for none of its own network, whose header has been judged. If it is for no other network of this host either, or for a
 * broadcast address or somebody who is not configured, the reason is its own. The host's addresses are no network's: it may be asked at any of them.
 */
static __noinline enum reason between_networks(struct pkt *p, __u32 network, const struct network_entry *net, enum reason reason)
{
	struct subnet_entry *subnet = subnet_lookup(p->h->dst);
	struct network_entry *to = subnet ? network_lookup(subnet->network) : NULL;
	struct neighbour_entry *owner;
	struct endpoint_entry *ep;

	if (!to || subnet->network == network)
		return reason;
	owner = neighbour_lookup(subnet->network, p->h->dst);
	if (owner && owner->ifindex == to->bridge)
		return PASS_HOST;
	if (!(net->flags & to->flags & NETWORK_ROUTED))
		return DROP_ISOLATED;
	if (!owner)
		return deliver_on_link(subnet->network, to, p->h->dst, reason);
	reason = between_routable(p, to->mtu);
	if (reason)
		return reason;
	ep = endpoint_lookup(owner->ifindex);
	if (!ep)
		return DROP_NO_ENDPOINT;
	reason = translate_hop(p);
	if (!reason)
		reason = deliver_in(p, ep, to, owner->ifindex);
	return reason ? reason : FORWARD_NETWORK;
}

#endif
