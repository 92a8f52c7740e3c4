/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * unguarded.h - what an endpoint without source guard sends as somebody else: as a station behind it, which the configuration does not know.
 * The kernel's bridge takes it, and learns. Whoever is configured is never believed to be there: neither their MACs nor their addresses.
 */
#ifndef FLYOVER_UNGUARDED_H
#define FLYOVER_UNGUARDED_H

#include "deliver.h"
#include "endpoint.h"
#include "exempt.h"
#include "fdb.h"
#include "kernel.h"
#include "neighbour.h"
#include "network.h"
#include "pkt.h"
#include "reason.h"
#include "segment.h"
#include "uplink.h"
#include "usage.h"

#define UNGUARDED_WRONG_SOURCE (FAMILY == 6 ? DROP_SOURCE_IPV6 : DROP_SOURCE_IPV4)

/* Of an 802.1Q or 802.1ad tag: the VLAN; 0 is a priority alone, and what is behind it counts as if there were no tag. */
#define UNGUARDED_VLAN 0x0fff

/* Is the MAC that of the gateway or of another endpoint? */
static __always_inline bool unguarded_mac_is_taken(const struct endpoint_entry *ep, const struct network_entry *net,
						   const __u8 *mac)
{
	return !mac_equal(mac, ep->mac) && (mac_equal(mac, net->gateway_mac) || fdb_lookup(ep->network, mac));
}

/* Is the address the gateway's, another endpoint's, or one of another network of this host? */
static __always_inline bool unguarded_addr_is_taken(const struct endpoint_entry *ep, addr_t addr)
{
	struct subnet_entry *subnet;

	if (endpoint_has(ep, addr))
		return false;
	if (neighbour_lookup(ep->network, addr))
		return true;
	subnet = subnet_lookup(addr);
	return subnet && subnet->network != ep->network;
}

static __always_inline bool unguarded_is_priority_tag(struct __sk_buff *skb)
{
	be16_bytes *tag;

	if (skb->vlan_present)
		return !(skb->vlan_tci & UNGUARDED_VLAN);
	tag = pkt_at(skb, PKT_L3, sizeof(*tag));
	return !tag || !(*tag & bpf_htons(UNGUARDED_VLAN));
}

/*
 * May the endpoint send what the source guard has refused? REASON_NONE, or why not. What has a tag is never the host's, and hides no address
 * from whoever has no such VLAN; so it is not looked into. A global function that parses the packet anew, to have its own stack.
 */
__noinline int unguarded_admit(struct __sk_buff *skb, const struct endpoint_entry *ep, const struct network_entry *net,
			       __u32 refused)
{
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_FUNCTION) };
	struct ethhdr *eth;

	if (!ep || !net || refused == DROP_RESERVED || refused == DROP_IPV6 || pkt_parse(&p))
		return refused;
	eth = pkt_eth(&p);
	if (!eth)
		return DROP_MALFORMED;
	if (unguarded_mac_is_taken(ep, net, eth->h_source))
		return DROP_SOURCE_MAC;
	if (refused == DROP_VLAN)
		return unguarded_is_priority_tag(skb) || mac_equal(eth->h_dest, net->gateway_mac) ? DROP_VLAN : REASON_NONE;
	if (p.h->ethertype == bpf_htons(ETH_P_IPV6) && (FAMILY == 4 || !endpoint_addr(ep)))
		return DROP_IPV6;
	if (p.h->ethertype == bpf_htons(ETH_P_FAMILY) && unguarded_addr_is_taken(ep, p.h->src))
		return UNGUARDED_WRONG_SOURCE;
	return REASON_NONE;
}

/* Would the host send an answer back to where the packet came from (RFC 3704 section 2.2)? */
static __always_inline bool unguarded_is_routed_back(struct __sk_buff *skb, addr_t src, addr_t dst, __u32 bridge)
{
	struct bpf_fib_lookup fib = { .family = AF_FAMILY, .ifindex = bridge };
	long ret;

	addr_store_words((__u8 *)fib.ipv6_src, dst); /* both families' begin there */
	addr_store_words((__u8 *)fib.ipv6_dst, src);
	ret = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return (ret == BPF_FIB_LKUP_RET_SUCCESS || ret == BPF_FIB_LKUP_RET_NO_NEIGH || ret == BPF_FIB_LKUP_RET_FRAG_NEEDED) &&
	       fib.ifindex == bridge;
}

/*
 * May a packet that the host reads have that source? On a masqueraded network it is one of the subnet, which to_uplink lets out by no means
 * untranslated; else it is where the host would look for it, and so none of the host's own. What is for everybody may have none.
 */
static __always_inline bool unguarded_may_reach_host(const struct pkt *p, const struct network_entry *net, bool everybody)
{
	if (addr_is_link_local(p->h->src) || (everybody && !p->h->src))
		return true;
	if (net->flags & NETWORK_MASQUERADE)
		return network_contains(net, p->h->src);
	return unguarded_is_routed_back(p->skb, p->h->src, p->h->dst, net->bridge);
}

/* A packet to another network of this host, which either of the two may refuse, see between.h; but the stack routes it. */
static __always_inline enum reason unguarded_between(addr_t dst, const struct network_entry *net, __u32 network)
{
	struct neighbour_entry *owner = neighbour_lookup(network, dst);
	struct network_entry *to = network_lookup(network);

	if (!to)
		return DROP_UNASSIGNED;
	if (owner && owner->ifindex == to->bridge)
		return PASS_BRIDGE;
	if (!(net->flags & to->flags & NETWORK_ROUTED))
		return DROP_ISOLATED;
	return deliver_on_link(network, to, dst, PASS_BRIDGE);
}

/* A packet for the gateway's MAC: the stack's, which translates nothing for who is not configured; to_uplink drops it then. */
static __always_inline enum reason unguarded_outside(struct pkt *p, __u32 network, const struct network_entry *net)
{
	struct subnet_entry *other;
	enum reason reason;

	if (network_contains(net, p->h->dst) || addr_is_link_local(p->h->dst))
		return PASS_BRIDGE;
	reason = ip_judge(p->skb);
	if (reason)
		return reason;
	other = subnet_lookup(p->h->dst);
	if (other)
		return unguarded_between(p->h->dst, net, other->network);
	if (!(net->flags & NETWORK_MASQUERADE) || exempt_has(network, p->h->dst))
		return PASS_BRIDGE;
	return deliver_by_stack(p, net->bridge, PASS_BRIDGE);
}

/* Where what has been admitted goes. The same kind of function. */
__noinline int unguarded_deliver(struct __sk_buff *skb, const struct endpoint_entry *ep, const struct network_entry *net)
{
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_FUNCTION) };
	bool everybody, gateway, ip;
	struct fdb_entry *to;
	struct ethhdr *eth;
	__u32 tag;

	if (!ep || !net || pkt_parse(&p))
		return DROP_MALFORMED;
	tag = p.h->ethertype == bpf_htons(ETH_P_8021Q) || p.h->ethertype == bpf_htons(ETH_P_8021AD) ? VLAN_HLEN : 0;
	if (skb->len - PKT_L3 > net->mtu + tag && !skb->gso_size)
		return DROP_OVERSIZE;
	eth = pkt_eth(&p);
	if (!eth)
		return DROP_MALFORMED;
	everybody = eth->h_dest[0] & 1;
	gateway = mac_equal(eth->h_dest, net->gateway_mac);
	ip = p.h->ethertype == bpf_htons(ETH_P_FAMILY) && !skb->vlan_present;
	if (ip && (everybody || gateway) && !unguarded_may_reach_host(&p, net, everybody))
		return UNGUARDED_WRONG_SOURCE;
	if (everybody)
		return usage_admit_broadcast(ep) ? PASS_BRIDGE : DROP_LIMIT_FLOOD;
	if (gateway)
		return ip ? unguarded_outside(&p, ep->network, net) : PASS_BRIDGE;
	to = fdb_lookup(ep->network, eth->h_dest);
	if (!to)
		return segment_unknown(skb, net);
	return to->ifindex == skb->ifindex ? DROP_UNKNOWN_MAC : PASS_BRIDGE;
}

#endif
