/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* deliver.h - where a path ends: out by an uplink, into an endpoint, or at the host's stack, and what may go there. */
#ifndef FLYOVER_DELIVER_H
#define FLYOVER_DELIVER_H

#include "endpoint.h"
#include "exempt.h"
#include "fdb.h"
#include "kernel.h"
#include "neighbour.h"
#include "network.h"
#include "pkt.h"
#include "reason.h"
#include "uplink.h"

/*
 * skb->tc_index of a packet that from_endpoint has translated, for to_uplink on its way out. It counts only on a packet that came
 * in by an endpoint, where from_endpoint clears what a namespace may have put there.
 */
#define DELIVER_TRANSLATED 0xf10e

static __always_inline bool deliver_was_out(const struct __sk_buff *skb)
{
	return skb->tc_index == DELIVER_TRANSLATED && endpoint_lookup(skb->ingress_ifindex);
}

/* Out by the uplink, to the next hop's link-layer address, which is resolved if it is not known. */
static __always_inline enum reason deliver_out(struct __sk_buff *skb, __u32 uplink, addr_t next_hop)
{
	struct bpf_redir_neigh next = { .nh_family = AF_FAMILY };

	addr_store_words((__u8 *)next.ipv6_nh, next_hop); /* both families' begin there */
	skb->tc_index = DELIVER_TRANSLATED;
	bpf_redirect_neigh(uplink, &next, sizeof(next), 0);
	return FORWARD_OUTSIDE;
}

/*
 * May the stack have a packet of a masqueraded network? It would send it out of any interface that the host has a route by, and
 * only uplinks have to_uplink on them. PASS_ROUTE: it is for another network of the host, see between.h.
 */
static __always_inline enum reason deliver_by_stack(struct pkt *p, __u32 bridge, enum reason reason)
{
	struct route route;

	if (subnet_lookup(p->h->dst))
		return PASS_ROUTE;
	route = uplink_route(p, bridge, 0);
	return !route.ifindex || uplink_lookup(route.ifindex) ? reason : DROP_ROUTE;
}

/*
 * A packet that the stack would send to an address of the network. For one that nobody has, the host would ask by ARP, and keep in its
 * neighbour table that it has: who scans the network would fill the table, which is one for the whole host. Behind an endpoint without
 * source guard there may be somebody who has it.
 */
static __always_inline enum reason deliver_on_link(__u32 network, const struct network_entry *net, addr_t dst, enum reason reason)
{
	if (neighbour_lookup(network, dst) || network_is_shared(net, dst) || (net->flags & NETWORK_UNGUARDED))
		return reason;
	return DROP_UNASSIGNED;
}

/* The owner of a reply, or why there is none: an address that went to another endpoint does not take its sessions along. */
static __always_inline enum reason deliver_owner(__u32 ifindex, addr_t inside, struct endpoint_entry **ep,
						 struct network_entry **net)
{
	*ep = endpoint_lookup(ifindex);
	if (!*ep || endpoint_addr(*ep) != inside)
		return DROP_NO_ENDPOINT;
	*net = network_lookup((*ep)->network);
	return *net ? REASON_NONE : DROP_NO_ENDPOINT;
}

/* Is the session the host's own, from its address on the network? */
static __always_inline bool deliver_is_gateway(__u32 ifindex, addr_t inside)
{
	struct subnet_entry *subnet = uplink_inside(inside);
	struct network_entry *net = subnet ? network_lookup(subnet->network) : NULL;

	return net && net->bridge == ifindex && network_gateway(net) == inside;
}

/* The last step inwards: the frame gets the network's addresses and goes into the endpoint. */
static __always_inline enum reason deliver_in(struct pkt *p, const struct endpoint_entry *ep, const struct network_entry *net,
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
 * What belongs to no session is the host's, unless it is meant for an inside address: that comes in as a reply, or from where the
 * network is not translated, or not at all.
 * Nor does an inside address come from there: the stack would send its packets out again as an endpoint's.
 */
static __always_inline enum reason deliver_unasked(const struct pkt *p, enum reason reason)
{
	struct subnet_entry *inside = uplink_inside(p->h->dst);

	if (uplink_inside(p->h->src))
		return FAMILY == 6 ? DROP_SOURCE_IPV6 : DROP_SOURCE_IPV4;
	if (!inside)
		return reason;
	return exempt_has(inside->network, p->h->src) ? PASS_ROUTED : DROP_UNSOLICITED;
}

#endif
