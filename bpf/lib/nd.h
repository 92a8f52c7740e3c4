/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * nd.h - answers neighbour discovery (RFC 4861) for the configured addresses of the network. No solicitation reaches another endpoint, unless it
 * is for an address that somebody behind an endpoint without source guard may have. What could make others believe something untrue of a
 * neighbour or a router ends here.
 */
#ifndef FLYOVER_ND_H
#define FLYOVER_ND_H

#include "endpoint.h"
#include "kernel.h"
#include "message.h"
#include "neighbour.h"
#include "network.h"
#include "pkt.h"

#define ND_HOP_LIMIT 255 /* no router has let it pass */

/* The longest message that is read; real ones are of 24 to 40 octets, those with SEND options of more. */
#define ND_MAX 1024
/* Options that are read: each has 8 octets or more. */
#define ND_OPTIONS 16

#define ND_OPTION_SOURCE 1 /* source link-layer address */
#define ND_OPTION_TARGET 2

#define ND_ROUTER bpf_htonl(1U << 31)
#define ND_SOLICITED bpf_htonl(1U << 30)
#define ND_OVERRIDE bpf_htonl(1U << 29)

/* Neighbour solicitation and advertisement (RFC 4861 sections 4.3 and 4.4). */
struct nd_message {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags; /* of an advertisement */
	__u8 target[16];
};
_Static_assert(sizeof(struct nd_message) == 24, "as on the wire");

/* ff02::1 */
#define ND_ALL_NODES ((addr_t)bpf_cpu_to_be64(1) << 64 | bpf_cpu_to_be64(0xff02ULL << 48))

/* An answer, whole but for the Ethernet header. */
struct nd_answer {
	struct ipv6hdr ip;
	struct nd_message nd;
	__u8 option;
	__u8 option_len; /* in units of 8 octets */
	__u8 mac[ETH_ALEN];
};
_Static_assert(sizeof(struct nd_answer) == 72, "as on the wire");
#define ND_ANSWER_LEN (sizeof(struct nd_answer) - sizeof(struct ipv6hdr))

/* Where a valid message is: directly behind the base header. */
#define ND_AT (PKT_L3 + sizeof(struct ipv6hdr))

static __always_inline struct nd_message *nd_at(struct __sk_buff *skb)
{
	return pkt_at(skb, ND_AT, sizeof(struct nd_message));
}

static __always_inline bool nd_is(__u8 type)
{
	return type >= ICMPV6_ROUTER_SOLICITATION && type <= ICMPV6_REDIRECT;
}

/* The first word of an option; a link-layer address fills it. */
struct nd_option {
	__u8 pad[2]; /* so that the address is aligned */
	__u8 kind;
	__u8 len; /* in units of 8 octets */
	__u8 mac[ETH_ALEN];
} __attribute__((aligned(4)));

struct nd_walk {
	struct __sk_buff *skb;
	__u32 at;
	__u32 end;
	__u8 mac[ETH_ALEN]; /* that the frame comes from, which has been looked at before */
	bool done;
	bool named;   /* a link-layer address is told */
	bool foreign; /* another one */
};

static long nd_step(__attribute__((unused)) __u32 turn, struct nd_walk *w)
{
	struct nd_option o;
	bool named;

	if (w->at == w->end) {
		w->done = true;
		return 1;
	}
	if (w->at + 8 > w->end || bpf_skb_load_bytes(w->skb, w->at, &o.kind, 8) || !o.len)
		return 1;
	named = o.kind == ND_OPTION_SOURCE || o.kind == ND_OPTION_TARGET;
	w->named |= named;
	w->foreign |= named && (o.len != 1 || !mac_equal(o.mac, w->mac));
	w->at += o.len * 8;
	return 0;
}

/* Is it an address that asks for one of a few addresses, which end the same (RFC 4291 section 2.7.1)? */
static __always_inline bool nd_is_solicited_node(addr_t addr)
{
	__be64 last = addr >> 64;

	return (__u64)addr == bpf_cpu_to_be64(0xff02ULL << 48) &&
	       (last & bpf_cpu_to_be64(0xffffffffff000000ULL)) == bpf_cpu_to_be64(0x1ff000000ULL);
}

/* What makes a message of the endpoint invalid (RFC 4861 sections 7.1.1 and 7.1.2, RFC 6980): REASON_NONE, or why it is dropped. */
static __always_inline enum reason nd_judge(const struct pkt *p)
{
	struct nd_walk w = { .skb = p->skb, .at = ND_AT + sizeof(struct nd_message), .end = p->h->end };
	struct nd_message *nd;
	struct ethhdr *eth;
	addr_t target;

	if (p->h->fragment_at || p->h->l4 != ND_AT || p->h->ttl != ND_HOP_LIMIT || p->h->end > ND_AT + ND_MAX)
		return DROP_ND_MALFORMED;
	pkt_pull(p->skb, ND_AT + sizeof(*nd));
	nd = nd_at(p->skb);
	if (!nd || w.at > w.end || nd->code)
		return DROP_ND_MALFORMED;
	target = addr_load(nd->target);
	if (!target || (__u8)target == 0xff || !message_is_whole(p->skb, ND_AT, p->h->end, ip_pseudo(p->skb, p->h->end - ND_AT)))
		return DROP_ND_MALFORMED;
	eth = pkt_eth(p);
	if (!eth)
		return DROP_ND_MALFORMED;
	mac_copy(w.mac, eth->h_source);
	bpf_loop(ND_OPTIONS, nd_step, &w, 0);
	if (!w.done || (!p->h->src && (w.named || !nd_is_solicited_node(p->h->dst))))
		return DROP_ND_MALFORMED;
	return w.foreign ? DROP_ND_LINK_LAYER : REASON_NONE;
}

/* Turns the solicitation in place into its answer and sends it back where it came from. */
static __always_inline enum reason nd_reply(struct __sk_buff *skb, const struct neighbour_entry *owner, bool router)
{
	struct nd_answer *a;
	struct ethhdr *eth;
	bool probe; /* duplicate address detection: the asker has no address yet, so all are told (RFC 4861 section 7.2.4) */

	if (bpf_skb_change_tail(skb, PKT_L3 + sizeof(*a), 0))
		return DROP_ND_MALFORMED;
	eth = pkt_at(skb, 0, sizeof(*eth) + sizeof(*a));
	if (!eth)
		return DROP_ND_MALFORMED;
	a = (void *)(eth + 1);
	probe = !addr_load(a->ip.saddr.s6_addr);
	mac_copy(eth->h_dest, eth->h_source);
	mac_copy(eth->h_source, owner->mac);
	ip_write(&a->ip, addr_load(a->nd.target), probe ? ND_ALL_NODES : addr_load(a->ip.saddr.s6_addr), ND_HOP_LIMIT,
		 ND_ANSWER_LEN);
	if (probe) {
		*(be32_bytes *)eth->h_dest = bpf_htonl(0x33330000); /* RFC 2464 section 7 */
		*(be16_bytes *)(eth->h_dest + 4) = bpf_htons(1);
	}
	a->nd.type = ICMPV6_NEIGHBOUR_ADVERTISEMENT;
	a->nd.flags = ND_OVERRIDE | (probe ? 0 : ND_SOLICITED) | (router ? ND_ROUTER : 0);
	a->option = ND_OPTION_TARGET;
	a->option_len = 1;
	mac_copy(a->mac, owner->mac);
	a->nd.checksum = 0;
	a->nd.checksum = ~csum_fold64((__u64)ip_pseudo(skb, ND_ANSWER_LEN) +
				      (__u32)bpf_csum_diff(NULL, 0, (__be32 *)&a->nd, ND_ANSWER_LEN, 0));
	bpf_redirect(skb->ifindex, 0);
	return ANSWER_ND;
}

static __always_inline enum reason nd_solicitation(const struct pkt *p, const struct endpoint_entry *ep,
						   const struct network_entry *net)
{
	struct nd_message *nd = nd_at(p->skb);
	struct neighbour_entry *owner;
	addr_t target;

	if (!nd)
		return DROP_ND_MALFORMED;
	target = addr_load(nd->target);
	if (endpoint_has(ep, target))
		return DROP_ND_OWN;
	owner = neighbour_lookup(ep->network, target);
	if (!owner)
		return net->flags & NETWORK_UNGUARDED ? REASON_NONE : DROP_ND_TARGET;
	return nd_reply(p->skb, owner, owner->ifindex == net->bridge);
}

/* May a message have no source: a question by who has no address yet, or a report of multicast groups (RFC 3590)? */
static __always_inline bool nd_may_lack_source(__u8 type)
{
	return type == ICMPV6_NEIGHBOUR_SOLICITATION || type == ICMPV6_ROUTER_SOLICITATION || type == ICMPV6_MGM_REPORT ||
	       type == ICMPV6_MGM_REDUCTION || type == ICMPV6_MLD2_REPORT;
}

/* A message of neighbour discovery, whose headers this CPU has. An enum reason. A global function, to have its own stack. */
__noinline int nd_message(struct __sk_buff *skb, __u8 type, const struct endpoint_entry *ep, const struct network_entry *net)
{
	struct pkt p = { skb, headers_here(NULL, HEADERS_OF_PROGRAM) };
	struct nd_message *nd;
	struct ethhdr *eth;
	enum reason reason;

	if (!p.h || !ep || !net)
		return DROP_ND_MALFORMED;
	if (type != ICMPV6_NEIGHBOUR_SOLICITATION && type != ICMPV6_NEIGHBOUR_ADVERTISEMENT)
		return ep->unguarded ? REASON_NONE : DROP_ND_ROUTER;
	reason = nd_judge(&p);
	if (reason)
		return reason;
	if (type == ICMPV6_NEIGHBOUR_SOLICITATION)
		return nd_solicitation(&p, ep, net);
	nd = nd_at(skb);
	if (!nd)
		return DROP_ND_MALFORMED;
	if (!endpoint_has(ep, addr_load(nd->target)) && !neighbour_may_be(ep, addr_load(nd->target)))
		return DROP_ND_TARGET;
	eth = pkt_eth(&p);
	if (eth && mac_equal(eth->h_dest, net->gateway_mac))
		return PASS_HOST;
	return ep->unguarded ? REASON_NONE : DROP_ND_ADVERTISEMENT;
}

/*
 * Every message of neighbour discovery of an endpoint ends here, but for what it tells the host, and what has to do with somebody who is not
 * configured. Routes are configured: who asks for a router gets no answer, and who says that it is one is not heard, unless there is no source
 * guard. REASON_NONE: it is such a one, or none at all. Packets that may have no source are told from
 * those that may not here, too.
 */
static __always_inline enum reason resolve(struct pkt *p, const struct endpoint_entry *ep, const struct network_entry *net)
{
	__u8 type = 0;

	if (addr_is_off_link(p->h->dst))
		return DROP_MARTIAN;
	if (p->h->first && p->h->proto == IPPROTO_ICMPV6 &&
	    (p->h->l4 >= p->h->end || bpf_skb_load_bytes(p->skb, p->h->l4, &type, sizeof(type))))
		return DROP_TRANSPORT;
	if (!p->h->src && !nd_may_lack_source(type))
		return DROP_SOURCE_IPV6;
	return nd_is(type) ? nd_message(p->skb, type, ep, net) : REASON_NONE;
}

#endif
