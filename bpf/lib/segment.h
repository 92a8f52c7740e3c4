/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* segment.h - the path of a frame to another endpoint of the network, of either family or none. */
#ifndef FLYOVER_SEGMENT_H
#define FLYOVER_SEGMENT_H

#include "endpoint.h"
#include "fdb.h"
#include "kernel.h"
#include "network.h"
#include "pkt.h"
#include "reason.h"
#include "usage.h"

/*
 * A unicast frame to a MAC that is not configured: whose it is, if anybody's, the bridge knows. The MAC of the host's end of the very pair is
 * refused (PACKET_HOST): the bridge would hand its frames to the host, past all that from_endpoint looks at before.
 */
static __always_inline enum reason segment_unknown(const struct __sk_buff *skb, const struct network_entry *net)
{
	return (net->flags & NETWORK_UNGUARDED) && skb->pkt_type != PACKET_HOST ? PASS_BRIDGE : DROP_UNKNOWN_MAC;
}

/*
 * A frame for another MAC of the network. One that is too large for it ends here: a veth pair would let four octets more through, the
 * room of a VLAN tag.
 */
static __always_inline enum reason segment_frame(struct pkt *p, const struct endpoint_entry *ep, const struct network_entry *net)
{
	struct ethhdr *eth = pkt_eth(p);
	struct fdb_entry *to;

	if (p->skb->len - PKT_L3 > net->mtu && !p->skb->gso_size)
		return DROP_OVERSIZE;
	if (!eth)
		return DROP_MALFORMED;
	if (eth->h_dest[0] & 1)
		return usage_admit_broadcast(ep) ? PASS_BROADCAST : DROP_LIMIT_FLOOD;
	to = fdb_lookup(ep->network, eth->h_dest);
	if (!to)
		return segment_unknown(p->skb, net);
	if (to->ifindex == p->skb->ifindex) /* never back out of its source (802.1D 7.7) */
		return DROP_UNKNOWN_MAC;
	fdb_deliver(p->skb, to->ifindex, to->endpoint);
	return FORWARD_ENDPOINT;
}

#endif
