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

/*
 * Notes what becomes of the datagram from outside whose first fragment this is. 0: the packet is lost. What has to do with fragments
 * is in global functions that parse the packet anew, to have stacks of their own.
 */
__noinline int datagram_note_in(struct __sk_buff *skb, __u32 uplink, enum datagram_state state, __be32 inside, __u32 ifindex)
{
	struct datagram4_entry d = { .state = state, .ifindex = ifindex };
	struct datagram4_key key;
	struct pkt p;

	if (pkt_parse(&p, skb) || p.ethertype != bpf_htons(ETH_P_IP))
		return 0;
	key = datagram4_key_of(&p, uplink);
	d.next = p.end - p.l4;
	addr4_store(d.addr, inside);
	return fragment_begin(skb, &key, &d);
}

/*
 * Notes what becomes of the datagram from inside whose first fragment this is: translated by s, or, if the reason for which it is not
 * is a drop, the same. The new identification, or -1: the packet is lost. What the stack makes of a fragment that was too large for
 * the uplink belongs to that one's datagram.
 */
__noinline int datagram_note_out(struct __sk_buff *skb, const struct session4_entry *s, __u32 reason, bool by_stack)
{
	struct datagram4_entry d = { .state = DATAGRAM_HOST }, *was;
	struct datagram4_key key;
	struct pkt p;

	if (pkt_parse(&p, skb) || p.ethertype != bpf_htons(ETH_P_IP))
		return -1;
	key = datagram4_key_of(&p, 0);
	d.next = p.end - p.l4;
	was = by_stack ? datagram4_lookup(&key) : NULL;
	if (was && was->state == DATAGRAM_TRANSLATED && was->next > d.next)
		return was->id;
	if (reason >= REASON_DROP_FIRST)
		d.state = DATAGRAM_REFUSED;
	if (!reason && s) {
		d.state = DATAGRAM_TRANSLATED;
		d.ifindex = s->uplink;
		d.mtu = s->mtu;
		d.id = fragment_next_id();
		addr4_store(d.addr, addr4_load(s->outside));
		addr4_store(d.next_hop, addr4_load(s->next_hop));
	}
	return fragment_begin(skb, &key, &d) ? d.id : -1;
}

/*
 * datagram_note_out() for the packet at hand: DROP_FRAGMENT if it is lost, or for an outside port of ours, where nothing is put
 * together.
 */
static __always_inline enum reason datagram_first_out(struct pkt *p, const struct session4_entry *s, enum reason reason,
						      bool by_stack, __be16 *id)
{
	int noted;

	asm volatile("" : "+r"(s)); /* older verifiers do not follow what the reason says of it */
	if (!reason && s && session4_is_hairpin(p, s))
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
	return p->proto == IPPROTO_TCP && p->offset < sizeof(struct tcphdr);
}

static __always_inline __u32 datagram_end_of(const struct pkt *p)
{
	return (p->offset + p->end - p->l4) | (p->last ? FRAGMENT_LAST : 0);
}

/* A fragment from inside, of the network of the bridge, that is not the first of its datagram. An enum reason. */
__noinline int datagram_later_out(struct __sk_buff *skb, __u32 bridge)
{
	struct datagram4_entry *d, fate;
	struct datagram4_key key;
	enum reason reason;
	struct pkt p;
	int turn;

	if (pkt_parse(&p, skb) || p.ethertype != bpf_htons(ETH_P_IP))
		return DROP_MALFORMED;
	if (datagram_overwrites(&p))
		return DROP_FRAGMENT;
	key = datagram4_key_of(&p, 0);
	d = datagram4_lookup(&key);
	if (!d || d->state == DATAGRAM_WAITING)
		return fragment_hold(skb, &key, p.offset, HOOK_FROM_ENDPOINT);
	if (d->state == DATAGRAM_REFUSED)
		return DROP_FRAGMENT;
	if (d->state == DATAGRAM_HOST)
		return deliver_by_stack(&p, bridge, PASS_FRAGMENT);
	fate = *d;
	turn = fragment_turn(skb, &key, p.offset, datagram_end_of(&p));
	if (turn < 0)
		return fragment_hold(skb, &key, p.offset, HOOK_FROM_ENDPOINT);
	if (turn)
		return DROP_FRAGMENT;
	if (p.options || p.ttl <= 1 || !pkt_fits(&p, fate.mtu))
		return deliver_by_stack(&p, bridge, PASS_FRAGMENT);
	reason = translate_id(&p, fate.id);
	if (!reason)
		reason = translate_ip(&p, TRANSLATE_SOURCE, addr4_load(fate.addr), 1);
	if (reason)
		return reason;
	return deliver_out(skb, fate.ifindex, addr4_load(fate.next_hop));
}

/* A fragment from outside that is not the first of its datagram. An enum reason. */
__noinline int datagram_later_in(struct __sk_buff *skb)
{
	struct network_entry *net = NULL;
	struct endpoint_entry *ep = NULL;
	struct datagram4_entry *d;
	struct datagram4_key key;
	enum reason reason;
	__be32 inside;
	__u32 ifindex;
	struct pkt p;
	int turn;

	if (pkt_parse(&p, skb) || p.ethertype != bpf_htons(ETH_P_IP))
		return DROP_MALFORMED;
	key = datagram4_key_of(&p, skb->ifindex);
	d = datagram4_lookup(&key);
	if (!d || d->state == DATAGRAM_WAITING)
		return fragment_hold(skb, &key, p.offset, HOOK_FROM_UPLINK);
	if (d->state != DATAGRAM_TRANSLATED)
		return deliver_unasked(&p, d->state == DATAGRAM_HOST ? PASS_FRAGMENT : DROP_FRAGMENT);
	ifindex = d->ifindex;
	inside = addr4_load(d->addr);
	turn = fragment_turn(skb, &key, p.offset, datagram_end_of(&p));
	if (turn < 0)
		return fragment_hold(skb, &key, p.offset, HOOK_FROM_UPLINK);
	if (turn)
		return DROP_FRAGMENT;
	reason = deliver_owner(ifindex, inside, &ep, &net);
	if (reason && !deliver_is_gateway(ifindex, inside))
		return reason;
	if (reason || p.ttl <= 1 || !pkt_fits(&p, net->mtu)) {
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

	return up && p->dst == addr4_load(up->source4);
}

/* The first fragment from outside of a datagram that is nobody's inside: the others share its fate. */
static __always_inline enum reason datagram_host(struct pkt *p)
{
	enum reason reason = deliver_unasked(p, PASS_FRAGMENT);
	enum datagram_state state = reason == PASS_FRAGMENT ? DATAGRAM_HOST : DATAGRAM_REFUSED;

	return datagram_note_in(p->skb, p->skb->ifindex, state, 0, 0) ? reason : DROP_FRAGMENT;
}

/* A fragment that the stack sends after its first, since it puts them in order. An enum reason. */
__noinline int datagram_slow_later(struct __sk_buff *skb)
{
	struct datagram4_entry *d;
	struct datagram4_key key;
	enum reason reason;
	struct pkt p;

	if (pkt_parse(&p, skb) || p.ethertype != bpf_htons(ETH_P_IP))
		return DROP_MALFORMED;
	key = datagram4_key_of(&p, 0);
	d = datagram4_lookup(&key);
	if (!d || d->state != DATAGRAM_TRANSLATED)
		return DROP_FRAGMENT;
	reason = translate_id(&p, d->id);
	if (!reason)
		reason = translate_ip(&p, TRANSLATE_SOURCE, addr4_load(d->addr), 0);
	return reason ? reason : PASS_TO_UPLINK;
}

#endif
