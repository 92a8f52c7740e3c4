/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * datagram.h - the paths of fragments. The first fragment of a datagram goes as a whole packet does, and notes what became of it; the
 * others follow. Which comes when is fragment.h's.
 */
#ifndef FLYOVER_DATAGRAM_H
#define FLYOVER_DATAGRAM_H

#include "deliver.h"
#include "endpoint.h"
#include "fragment.h"
#include "kernel.h"
#include "network.h"
#include "pkt.h"
#include "reason.h"
#include "session.h"
#include "translate.h"
#include "uplink.h"

/* Octets of the datagram that the fragment has: in the first one of IPv6, extension headers behind the fragment header are among them. */
static __always_inline __u32 datagram_octets(const struct pkt *p)
{
	return p->h->end - (FAMILY == 6 ? p->h->fragment_at + 8 : p->h->l4);
}

/*
 * Notes what becomes of the datagram from outside whose first fragment this is. 0: the packet is lost. What has to do with fragments
 * is in global functions that parse the packet anew, to have stacks of their own.
 */
__noinline int datagram_note_in(struct __sk_buff *skb, __u32 uplink, enum datagram_state state, const addr_t *inside,
				__u32 ifindex)
{
	struct fragment_work *w = fragment_here();
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_FUNCTION) };

	if (!w || !inside || pkt_parse(&p) || p.h->ethertype != bpf_htons(ETH_P_FAMILY))
		return 0;
	datagram_key_fill(&w->key, &p, uplink);
	w->fate = (struct datagram_entry){ .state = state, .ifindex = ifindex, .next = datagram_octets(&p) };
	addr_store(w->fate.addr, *inside);
	return fragment_begin(skb);
}

/*
 * Notes what becomes of the datagram from inside whose first fragment this is: translated by s, or, if the reason for which it is not
 * is a drop, the same. The new identification, or -1: the packet is lost. What the stack makes of a fragment that was too large for
 * the uplink belongs to that one's datagram.
 */
__noinline int datagram_note_out(struct __sk_buff *skb, const struct session_entry *s, __u32 reason, bool by_stack)
{
	struct fragment_work *w = fragment_here();
	struct datagram_entry *was;
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_FUNCTION) };

	if (!w || pkt_parse(&p) || p.h->ethertype != bpf_htons(ETH_P_FAMILY))
		return -1;
	datagram_key_fill(&w->key, &p, 0);
	w->fate = (struct datagram_entry){ .state = reason >= REASON_DROP_FIRST ? DATAGRAM_REFUSED : DATAGRAM_HOST,
					   .next = datagram_octets(&p) };
	was = by_stack ? datagram_lookup(&w->key) : NULL;
	if (was && was->state == DATAGRAM_TRANSLATED && was->next > w->fate.next)
		return was->id;
	if (!reason && s) {
		w->fate.state = DATAGRAM_TRANSLATED;
		w->fate.ifindex = s->uplink;
		w->fate.mtu = s->mtu;
		w->fate.id = fragment_next_id();
		addr_store(w->fate.addr, addr_load(s->outside));
		addr_store(w->fate.next_hop, addr_load(s->next_hop));
	}
	return fragment_begin(skb) ? w->fate.id : -1;
}

/*
 * datagram_note_out() for the packet at hand: DROP_FRAGMENT if it is lost, or for an outside port of ours, where nothing is put
 * together.
 */
static __always_inline enum reason datagram_first_out(struct pkt *p, const struct session_entry *s, enum reason reason,
						      bool by_stack, __be32 *id)
{
	int noted;

	asm volatile("" : "+r"(s)); /* older verifiers do not follow what the reason says of it */
	if (!reason && s && session_is_hairpin(p, s))
		reason = DROP_FRAGMENT;
	noted = datagram_note_out(p->skb, s, reason, by_stack);
	if (noted < 0)
		return DROP_FRAGMENT;
	*id = noted;
	return reason;
}

/* Does it carry octets of the transport header that only the first fragment may (RFC 3128)? They would replace what was judged. */
static __always_inline bool datagram_overwrites(const struct pkt *p)
{
	return p->h->proto == IPPROTO_TCP && p->h->offset < sizeof(struct tcphdr);
}

static __always_inline __u32 datagram_end_of(const struct pkt *p)
{
	return (p->h->offset + datagram_octets(p)) | (p->h->last ? FRAGMENT_LAST : 0);
}

/* A fragment from inside, of the network of the bridge, that is not the first of its datagram. An enum reason. */
__noinline int datagram_later_out(struct __sk_buff *skb, __u32 bridge)
{
	struct fragment_work *w = fragment_here();
	struct datagram_entry *d;
	enum reason reason;
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_FUNCTION) };
	int turn;

	if (!w || pkt_parse(&p) || p.h->ethertype != bpf_htons(ETH_P_FAMILY))
		return DROP_MALFORMED;
	if (datagram_overwrites(&p))
		return DROP_FRAGMENT;
	datagram_key_fill(&w->key, &p, 0);
	d = datagram_lookup(&w->key);
	if (!d || d->state == DATAGRAM_WAITING)
		return fragment_hold(skb, p.h->offset, HOOK_FROM_ENDPOINT);
	if (d->state == DATAGRAM_REFUSED)
		return DROP_FRAGMENT;
	if (d->state == DATAGRAM_HOST)
		return deliver_by_stack(&p, bridge, PASS_FRAGMENT);
	w->fate = *d;
	turn = fragment_turn(skb, p.h->offset, datagram_end_of(&p));
	if (turn < 0)
		return fragment_hold(skb, p.h->offset, HOOK_FROM_ENDPOINT);
	if (turn)
		return DROP_FRAGMENT;
	/* The first one may have gone by the stack, which tells nobody its next hop. */
	if (p.h->options || p.h->ttl <= 1 || !pkt_fits(&p, w->fate.mtu) || !addr_load(w->fate.next_hop))
		return deliver_by_stack(&p, bridge, PASS_FRAGMENT);
	reason = translate_id(&p, w->fate.id);
	if (!reason)
		reason = translate_ip(&p, TRANSLATE_SOURCE, addr_load(w->fate.addr), 1);
	if (reason)
		return reason;
	return deliver_out(skb, w->fate.ifindex, addr_load(w->fate.next_hop));
}

/* A fragment from outside that is not the first of its datagram. An enum reason. */
__noinline int datagram_later_in(struct __sk_buff *skb)
{
	struct network_entry *net = NULL;
	struct endpoint_entry *ep = NULL;
	struct fragment_work *w = fragment_here();
	struct datagram_entry *d;
	enum reason reason;
	addr_t inside;
	__u32 ifindex;
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_FUNCTION) };
	int turn;

	if (!w || pkt_parse(&p) || p.h->ethertype != bpf_htons(ETH_P_FAMILY))
		return DROP_MALFORMED;
	datagram_key_fill(&w->key, &p, skb->ifindex);
	d = datagram_lookup(&w->key);
	if (!d || d->state == DATAGRAM_WAITING)
		return fragment_hold(skb, p.h->offset, HOOK_FROM_UPLINK);
	if (d->state != DATAGRAM_TRANSLATED)
		return deliver_unasked(&p, d->state == DATAGRAM_HOST ? PASS_FRAGMENT : DROP_FRAGMENT);
	ifindex = d->ifindex;
	inside = addr_load(d->addr);
	turn = fragment_turn(skb, p.h->offset, datagram_end_of(&p));
	if (turn < 0)
		return fragment_hold(skb, p.h->offset, HOOK_FROM_UPLINK);
	if (turn)
		return DROP_FRAGMENT;
	reason = deliver_owner(ifindex, inside, &ep, &net);
	if (reason && !deliver_is_gateway(ifindex, inside))
		return reason;
	if (reason || p.h->ttl <= 1 || !pkt_fits(&p, net->mtu)) {
		reason = translate_ip(&p, TRANSLATE_DESTINATION, inside, 0);
		return reason ? reason : PASS_FRAGMENT;
	}
	reason = translate_ip(&p, TRANSLATE_DESTINATION, inside, 1);
	if (!reason)
		reason = deliver_in(&p, ep, net, ifindex);
	return reason ? reason : FORWARD_INSIDE;
}

/* Is the packet for the address that sessions are translated to? Nothing else that comes in by an uplink is put together here. */
static __always_inline bool datagram_is_ours(const struct pkt *p)
{
	struct uplink_entry *up = uplink_lookup(p->skb->ifindex);

	return up && p->h->dst == uplink_source(up);
}

/* The first fragment from outside of a datagram that is nobody's inside: the others share its fate. */
static __always_inline enum reason datagram_host(struct pkt *p, __u32 uplink)
{
	enum reason reason = deliver_unasked(p, PASS_FRAGMENT);
	enum datagram_state state = reason == PASS_FRAGMENT ? DATAGRAM_HOST : DATAGRAM_REFUSED;
	addr_t nobody = 0;

	return datagram_note_in(p->skb, uplink, state, &nobody, 0) ? reason : DROP_FRAGMENT;
}

/* A fragment that the stack sends after its first, since it puts them in order. An enum reason. */
__noinline int datagram_slow_later(struct __sk_buff *skb)
{
	struct fragment_work *w = fragment_here();
	struct datagram_entry *d;
	enum reason reason;
	struct headers room;
	struct pkt p = { skb, headers_here(&room, HEADERS_OF_FUNCTION) };

	if (!w || pkt_parse(&p) || p.h->ethertype != bpf_htons(ETH_P_FAMILY))
		return DROP_MALFORMED;
	datagram_key_fill(&w->key, &p, 0);
	d = datagram_lookup(&w->key);
	if (!d || d->state != DATAGRAM_TRANSLATED)
		return DROP_FRAGMENT;
	reason = translate_id(&p, d->id);
	if (!reason)
		reason = translate_ip(&p, TRANSLATE_SOURCE, addr_load(d->addr), 0);
	return reason ? reason : PASS_TO_UPLINK;
}

#endif
