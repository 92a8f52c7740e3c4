/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * refuse.h - tells an endpoint that its packet finds no session: ICMP destination unreachable, communication administratively
 * prohibited (RFC 5508 REQ-8, RFC 1812 section 5.2.7.1, RFC 4443 section 3.1). The packet itself is dropped; the answer is a clone of what is made of
 * it. An endpoint gets so many a second (RFC 1812 section 4.3.2.8).
 */
#ifndef FLYOVER_REFUSE_H
#define FLYOVER_REFUSE_H

#include "kernel.h"
#include "network.h"
#include "pkt.h"
#include "reason.h"
#include "translate.h"
#include "usage.h"

/* Answers a second, and at once. */
#define REFUSE_RATE 10

/*
 * What is quoted: the IP header, without options, and of what follows the 8 octets that are asked for, or the TCP header: a packet
 * whose checksum is left to a device is not cut before it.
 */
#define REFUSE_QUOTE (IP_HEADER_LEN + 8)
#define REFUSE_QUOTE_TCP (IP_HEADER_LEN + sizeof(struct tcphdr))
#define REFUSE_TTL 64

/* The answer up to its quotation. */
struct refusal {
	struct ip_header ip;
	struct icmphdr icmp;
};

static __always_inline bool refuse_is_due(__u32 endpoint)
{
	struct usage_entry *u = usage_lookup(endpoint);

	return u && usage_take_token(&u->answers, REFUSE_RATE, REFUSE_RATE);
}

/* May an error be sent about the packet (RFC 1812 section 4.3.2.7)? The rest of the list has been sorted out before. */
static __always_inline bool refuse_is_fit(const struct pkt *p)
{
	return p->h->proto != PROTO_ICMP || icmp_is_request(p->h->icmp_type);
}

/* Fills the room that has been made before quote octets. */
static __always_inline bool refuse_fill(struct __sk_buff *skb, const struct network_entry *net, __u32 quote)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct refusal *r = (void *)(eth + 1);
	__u8 *quoted = (void *)(r + 1);
	__u32 len = sizeof(r->icmp) + quote;

	if ((void *)quoted + quote > (void *)(long)skb->data_end)
		return false;
	mac_copy(eth->h_dest, eth->h_source);
	mac_copy(eth->h_source, net->gateway_mac);
	eth->h_proto = bpf_htons(ETH_P_FAMILY);
	ip_write(&r->ip, network_gateway(net), addr_load(quoted + IP_SOURCE), REFUSE_TTL, len);
	r->icmp = (struct icmphdr){ .type = ICMP_REFUSAL_TYPE, .code = ICMP_REFUSAL_CODE };
	r->icmp.checksum = ~csum_fold64((__u64)ip_pseudo(skb, len) + (__u32)bpf_csum_diff(NULL, 0, (__be32 *)&r->icmp, len, 0));
	return true;
}

/* Turns the packet into the answer. */
static __always_inline bool refuse_make(struct __sk_buff *skb, const struct network_entry *net, __u32 quote)
{
	return !bpf_skb_change_tail(skb, PKT_L3 + quote, 0) &&
	       !bpf_skb_adjust_room(skb, sizeof(struct refusal), BPF_ADJ_ROOM_MAC, 0) && refuse_fill(skb, net, quote);
}

/* Answers the packet's sender. The packet is fit for nothing but being dropped afterwards. */
static __always_inline void refuse_answer(struct pkt *p, const struct network_entry *net, __u32 endpoint)
{
	struct __sk_buff *skb = p->skb;

	if (p->h->options || skb->gso_size || !refuse_is_fit(p) || !refuse_is_due(endpoint))
		return;
	if (p->h->proto == IPPROTO_TCP ? refuse_make(skb, net, REFUSE_QUOTE_TCP) : refuse_make(skb, net, REFUSE_QUOTE))
		bpf_clone_redirect(skb, skb->ifindex, 0);
}

static __always_inline bool refuse_is_for(enum reason reason)
{
	return reason == DROP_NO_PORT || reason == DROP_SESSIONS_FULL || reason == DROP_LIMIT_SESSIONS ||
	       reason == DROP_LIMIT_MAPPINGS || reason == DROP_LIMIT_RATE;
}

#endif
