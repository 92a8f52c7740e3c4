/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arp.h - answers ARP (RFC 826, RFC 5227) for the configured addresses of the network. No request reaches another endpoint, unless it is for an
 * address that somebody behind an endpoint without source guard may have.
 */
#ifndef FLYOVER_ARP_H
#define FLYOVER_ARP_H

#include "endpoint.h"
#include "kernel.h"
#include "neighbour.h"
#include "network.h"
#include "pkt.h"

/* ARP for IPv4 over Ethernet, as on the wire; every field is at an even offset, so there is no padding. */
struct arp_packet {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target[4];
};
_Static_assert(sizeof(struct arp_packet) == 28, "as on the wire");

static __always_inline bool arp_is_ipv4(const struct arp_packet *arp)
{
	return arp->hardware == bpf_htons(ARPHRD_ETHER) && arp->protocol == bpf_htons(ETH_P_IP) &&
	       arp->hardware_len == ETH_ALEN && arp->protocol_len == 4;
}

/* Turns the request in place into its answer and sends it back where it came from. */
static __always_inline enum reason arp_reply(struct pkt *p, struct arp_packet *arp, const struct neighbour_entry *owner)
{
	struct ethhdr *eth = pkt_at(p->skb, 0, sizeof(*eth));
	addr_t asker = addr_load(arp->sender);

	if (!eth)
		return DROP_ARP_MALFORMED;
	mac_copy(eth->h_dest, eth->h_source);
	mac_copy(eth->h_source, owner->mac);
	arp->operation = bpf_htons(ARPOP_REPLY);
	mac_copy(arp->target_mac, arp->sender_mac);
	mac_copy(arp->sender_mac, owner->mac);
	addr_store(arp->sender, addr_load(arp->target));
	addr_store(arp->target, asker);
	bpf_redirect(p->skb->ifindex, 0);
	return ANSWER_ARP;
}

/* REASON_NONE: nobody that is known has the address, and somebody else may. */
static __always_inline enum reason arp_request(struct pkt *p, struct arp_packet *arp, const struct endpoint_entry *ep,
					       const struct network_entry *net)
{
	addr_t target = addr_load(arp->target);
	struct neighbour_entry *owner;

	if (target == endpoint_addr(ep))
		return DROP_ARP_OWN;
	owner = neighbour_lookup(ep->network, target);
	if (!owner)
		return net->flags & NETWORK_UNGUARDED ? REASON_NONE : DROP_ARP_TARGET;
	return arp_reply(p, arp, owner);
}

/*
 * Every ARP packet of an endpoint ends here, but for its replies to the host, and what has to do with somebody who is not configured.
 * REASON_NONE: it is such a one, or none at all. The MAC that the frame comes from has been looked at before.
 */
static __always_inline enum reason resolve(struct pkt *p, const struct endpoint_entry *ep, const struct network_entry *net)
{
	struct arp_packet *arp;
	struct ethhdr *eth = pkt_eth(p);
	addr_t sender;

	if (p->h->ethertype != bpf_htons(ETH_P_ARP))
		return REASON_NONE;
	arp = pkt_at(p->skb, ETH_HLEN, sizeof(*arp));
	if (!eth || !arp || !arp_is_ipv4(arp))
		return DROP_ARP_MALFORMED;
	sender = addr_load(arp->sender);
	if (!mac_equal(arp->sender_mac, eth->h_source))
		return DROP_ARP_SENDER;
	if (arp->operation == bpf_htons(ARPOP_REQUEST)) {
		/* Sender 0.0.0.0: a probe, RFC 5227 section 2.1.1. */
		if (sender && sender != endpoint_addr(ep) && !neighbour_may_be(ep, sender))
			return DROP_ARP_SENDER;
		return arp_request(p, arp, ep, net);
	}
	if (arp->operation != bpf_htons(ARPOP_REPLY))
		return DROP_ARP_MALFORMED;
	if (!endpoint_has(ep, sender) && !neighbour_may_be(ep, sender))
		return DROP_ARP_SENDER;
	if (mac_equal(eth->h_dest, net->gateway_mac))
		return PASS_HOST;
	return ep->unguarded ? REASON_NONE : DROP_ARP_REPLY;
}

#endif
