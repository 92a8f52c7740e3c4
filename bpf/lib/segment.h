/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* segment.h - the paths within a network: frames to other endpoints, and IPv6, of which nothing is translated. */
#ifndef FLYOVER_SEGMENT_H
#define FLYOVER_SEGMENT_H

#include "endpoint.h"
#include "fdb.h"
#include "ipv6.h"
#include "kernel.h"
#include "nd.h"
#include "neighbour.h"
#include "network.h"
#include "pkt.h"
#include "reason.h"
#include "uplink.h"
#include "usage.h"

/*
 * A frame for another MAC of the network. One that is too large for it ends here: a veth pair would let four octets more through, the
 * room of a VLAN tag.
 */
static __always_inline enum reason segment_frame(struct pkt *p, const struct endpoint_entry *ep, const struct network_entry *net)
{
	struct fdb_entry *to;

	if (p->skb->len - PKT_L3 > net->mtu && !p->skb->gso_size)
		return DROP_OVERSIZE;
	if (p->destination[0] & 1)
		return usage_admit_broadcast(ep) ? PASS_BROADCAST : DROP_LIMIT_FLOOD;
	to = fdb_lookup(ep->network, p->destination);
	if (!to || to->ifindex == p->skb->ifindex) /* never back out of its source (802.1D 7.7) */
		return DROP_UNKNOWN_MAC;
	fdb_deliver(p->skb, to->ifindex, to->endpoint);
	return FORWARD_ENDPOINT;
}

/* May a message of ICMPv6 have no source: a question by who has no address yet, or a report of multicast groups (RFC 3590)? */
static __always_inline bool segment_may_lack_source(__u8 type)
{
	return type == ICMPV6_NEIGHBOUR_SOLICITATION || type == ICMPV6_ROUTER_SOLICITATION || type == ICMPV6_MGM_REPORT ||
	       type == ICMPV6_MGM_REDUCTION || type == ICMPV6_MLD2_REPORT;
}

/*
 * The source guard on IPv6, and neighbour discovery, which ends here. An enum reason; REASON_NONE: the packet goes on. A global function,
 * to have its own stack.
 */
__noinline int segment_admit_ipv6(struct __sk_buff *skb, const struct endpoint_entry *ep, const struct network_entry *net)
{
	enum reason reason;
	struct ipv6hdr *h;
	struct ipv6 ip;
	__u8 type = 0;
	__be16 port = 0;
	bool nobody;

	if (!ep || !net)
		return DROP_NOT_ENDPOINT;
	if (addr6_is_unspecified(ep->addr6))
		return DROP_IPV6;
	reason = ipv6_parse(skb, &ip);
	h = ipv6_header(skb);
	if (reason || !h)
		return reason ? reason : DROP_MALFORMED;
	nobody = addr6_is_unspecified(h->saddr.s6_addr);
	if (!nobody && !endpoint_has_addr6(ep, h->saddr.s6_addr))
		return DROP_SOURCE_IPV6;
	if (addr6_is_martian(h->daddr.s6_addr))
		return DROP_MARTIAN;
	if (ip.first && ip.proto == IPPROTO_ICMPV6 && !ipv6_load(skb, &ip, &type, sizeof(type)))
		return DROP_TRANSPORT;
	if (nobody && !segment_may_lack_source(type))
		return DROP_SOURCE_IPV6;
	if (nd_is(type))
		return nd_handle(skb, &ip, type, ep, net);
	if (ip.first && ip.proto == IPPROTO_UDP && !ipv6_load(skb, &ip, &port, sizeof(port)))
		return DROP_TRANSPORT;
	return port == bpf_htons(547) ? DROP_DHCP_SERVER : REASON_NONE; /* RFC 8415 section 7.2 */
}

/* An IPv6 packet for the gateway's MAC: for the host, or routed by it; to nobody that is not there, as forward_on_link(). */
static __always_inline enum reason segment_ipv6_to_host(struct __sk_buff *skb, __u32 network, const struct network_entry *net)
{
	struct ipv6hdr *h = ipv6_header(skb);
	struct subnet_entry *inside;

	if (!h)
		return DROP_MALFORMED;
	if (neighbour6_lookup(network, h->daddr.s6_addr) || h->daddr.s6_addr[0] == 0xff)
		return PASS_HOST;
	if (addr6_is_link_local(h->daddr.s6_addr) || network_contains6(net, h->daddr.s6_addr))
		return DROP_UNASSIGNED;
	inside = uplink_inside6(h->daddr.s6_addr);
	if (inside)
		return neighbour6_lookup(inside->network, h->daddr.s6_addr) ? PASS_ROUTE : DROP_UNASSIGNED;
	return net->flags & NETWORK_MASQUERADE ? DROP_PROTOCOL : PASS_ROUTED;
}

/* An IPv6 packet from an uplink: inside addresses of masqueraded networks do not come from there, and are not reached from there. */
static __always_inline enum reason segment_ipv6_from_uplink(struct __sk_buff *skb)
{
	struct ipv6hdr *h = ipv6_header(skb);

	if (h && uplink_inside6(h->saddr.s6_addr))
		return DROP_SOURCE_IPV6;
	return h && uplink_inside6(h->daddr.s6_addr) ? DROP_UNSOLICITED : PASS_NO_SESSION;
}

/* An IPv6 packet to an uplink: nothing from inside a masqueraded network leaves, since it is not translated. */
static __always_inline enum reason segment_ipv6_to_uplink(struct __sk_buff *skb)
{
	struct ipv6hdr *h = ipv6_header(skb);

	return h && uplink_inside6(h->saddr.s6_addr) ? DROP_PROTOCOL : PASS_OWN;
}

#endif
