// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

//go:build ignore

/*
 * datapath.c - the entry points, one for each hook and one for control. The packet paths are in lib/segment.h and lib/forward.h. Compiled
 * once for each address family, see lib/family.h.
 */
#if FAMILY == 6
#include "lib/nd.h"
#else
#include "lib/arp.h"
#endif
#include "lib/endpoint.h"
#include "lib/forward.h"
#include "lib/network.h"
#include "lib/pkt.h"
#include "lib/reason.h"
#include "lib/refuse.h"
#include "lib/segment.h"
#include "lib/session.h"
#include "lib/twin.h"
#include "lib/unguarded.h"
#include "lib/uplink.h"

/* What the source guard refuses of an endpoint that has none. */
static __always_inline enum reason unguarded_path(struct pkt *p, const struct endpoint_entry *ep, const struct network_entry *net,
						  enum reason refused)
{
	enum reason reason = unguarded_admit(p->skb, ep, net, refused);

	if (!reason && refused != DROP_VLAN)
		reason = resolve(p, ep, net);
	return reason ? reason : unguarded_deliver(p->skb, ep, net);
}

static __always_inline enum reason endpoint_path(struct pkt *p, const struct endpoint_entry *ep)
{
	struct network_entry *net = network_lookup(ep->network);
	struct ethhdr *eth;
	enum reason reason;

	if (!net)
		return DROP_NOT_ENDPOINT;
	reason = endpoint_admit(ep, p);
	if (reason)
		return ep->unguarded ? unguarded_path(p, ep, net, reason) : reason;
	reason = resolve(p, ep, net);
	if (reason)
		return reason;
	eth = pkt_eth(p);
	if (!eth || !mac_equal(eth->h_dest, net->gateway_mac))
		return segment_frame(p, ep, net);
	if (p->h->ethertype != bpf_htons(ETH_P_FAMILY))
		return PASS_ETHERTYPE;
	reason = forward_outside(p, ep->network, net);
	if (refuse_is_for(reason))
		refuse_answer(p, net, ep->id);
	return reason;
}

/* Ingress of the host's end of an endpoint's veth pair: whatever the endpoint sends. */
SEC("tc")
int from_endpoint(struct __sk_buff *skb)
{
	struct endpoint_entry *ep;
	__u32 bytes = skb->len;
	enum reason reason;
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_PROGRAM) };

	if (twin_takes(skb, HOOK_FROM_ENDPOINT))
		return verdict(skb->len, HOOK_FROM_ENDPOINT, DROP_IPV6);
	ep = endpoint_lookup(skb->ifindex);
	skb->tc_index = 0;
	if (!ep)
		return verdict(bytes, HOOK_FROM_ENDPOINT, DROP_NOT_ENDPOINT);
	reason = pkt_parse(&p);
	if (!reason)
		reason = endpoint_path(&p, ep);
	endpoint_count_sent(ep->id, bytes, reason);
	return verdict(bytes, HOOK_FROM_ENDPOINT, reason);
}

/* Ingress of an uplink: replies go into their endpoints, all else is the host's. */
SEC("tc")
int from_uplink(struct __sk_buff *skb)
{
	enum reason reason;
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_PROGRAM) };

	if (twin_takes(skb, HOOK_FROM_UPLINK))
		return verdict(skb->len, HOOK_FROM_UPLINK, DROP_IPV6);
	reason = pkt_parse(&p);
	if (reason || p.h->ethertype != bpf_htons(ETH_P_FAMILY) || skb->vlan_present || skb->pkt_type != PACKET_HOST)
		reason = PASS_NO_SESSION;
	else
		reason = forward_inside(&p);
	return verdict(skb->len, HOOK_FROM_UPLINK, reason);
}

/* What leaves the host by an uplink and was not translated before. */
static __always_inline enum reason uplink_path(struct __sk_buff *skb)
{
	struct subnet_entry *inside;
	enum reason reason;
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_PROGRAM) };

	if (!p.h)
		return DROP_MALFORMED;
	reason = pkt_parse(&p);
	if (p.h->ethertype != bpf_htons(ETH_P_FAMILY))
		return PASS_OWN;
	inside = uplink_inside(p.h->src);
	if (!inside)
		return reason ? PASS_OWN : forward_own(&p);
	return reason ? reason : forward_slow(&p, inside->network);
}

/* Egress of an uplink: nothing from inside leaves untranslated. */
SEC("tc")
int to_uplink(struct __sk_buff *skb)
{
	enum reason reason = PASS_TRANSLATED;

	if (twin_takes(skb, HOOK_TO_UPLINK))
		return verdict(skb->len, HOOK_TO_UPLINK, DROP_IPV6);
	if (deliver_was_out(skb))
		skb->tc_index = 0;
	else
		reason = uplink_path(skb);
	return verdict(skb->len, HOOK_TO_UPLINK, reason);
}

/* What end_sessions is called with. */
struct end_request {
	ADDRESS(inside); /* whose sessions are to end; 0: everybody's */
	__u32 now;	 /* seconds of CLOCK_MONOTONIC, which the program cannot read itself */
	PADDING(pad, 0, 4);
};

/* Run by control, on no hook: ends sessions as the datapath itself does, under its traffic. Returns how many were live. */
SEC("syscall")
int end_sessions(struct end_request *request)
{
	return session_end_all(addr_load(request->inside), request->now);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
