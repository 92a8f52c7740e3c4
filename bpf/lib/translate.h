/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* translate.h - rewrites addresses, ports and TTL with their checksums (RFC 3022 section 4.1, RFC 1624), offloads on or off. */
#ifndef FLYOVER_TRANSLATE_H
#define FLYOVER_TRANSLATE_H

#include "kernel.h"
#include "pkt.h"

/* Which end of the packet is rewritten. */
enum translate_end {
	TRANSLATE_SOURCE,
	TRANSLATE_DESTINATION,
};

/* RFC 1624 equation 3, on a checksum as it stands in a header. */
static __always_inline __sum16 csum_replace16(__sum16 check, __u16 old, __u16 new)
{
	__u32 sum = (__u16)~check + (__u16)~old + new;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __sum16 csum_replace32(__sum16 check, __be32 old, __be32 new)
{
	check = csum_replace16(check, old & 0xffff, new & 0xffff);
	return csum_replace16(check, old >> 16, new >> 16);
}

static __always_inline __u32 translate_port_offset(const struct pkt *p, enum translate_end end)
{
	if (p->proto == IPPROTO_ICMP)
		return p->l4 + offsetof(struct icmphdr, id);
	return p->l4 + (end == TRANSLATE_SOURCE ? 0 : 2); /* TCP and UDP begin with source, then destination */
}

/*
 * The transport checksum. The helper knows what a program cannot see: whether the sum is complete or left to a device, in
 * which case it covers only the pseudo-header and a port must not be added to it.
 */
static __always_inline void translate_l4_csum(const struct pkt *p, __be32 old, __be32 new, __be16 old_port, __be16 new_port)
{
	__u64 zero_is_none = p->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 at;

	if (p->proto == IPPROTO_ICMP) {
		bpf_l4_csum_replace(p->skb, p->l4 + offsetof(struct icmphdr, checksum), old_port, new_port, 2);
		return;
	}
	at = p->l4 + (p->proto == IPPROTO_TCP ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check));
	bpf_l4_csum_replace(p->skb, at, old, new, BPF_F_PSEUDO_HDR | zero_is_none | 4);
	if (old_port != new_port)
		bpf_l4_csum_replace(p->skb, at, old_port, new_port, zero_is_none | 2);
}

/* The IP header: one address, and the TTL less hops. */
static __always_inline enum reason translate_ip(const struct pkt *p, enum translate_end end, __be32 addr, __u8 hops)
{
	struct iphdr *ip = pkt_at(p->skb, PKT_L3, sizeof(*ip));
	__be32 old;

	if (!ip)
		return DROP_MALFORMED;
	old = end == TRANSLATE_SOURCE ? ip->saddr : ip->daddr;
	ip->check = csum_replace32(ip->check, old, addr);
	if (hops) {
		ip->check = csum_replace16(ip->check, bpf_htons((__u16)ip->ttl << 8), bpf_htons((__u16)(ip->ttl - hops) << 8));
		ip->ttl -= hops;
	}
	if (end == TRANSLATE_SOURCE)
		ip->saddr = addr;
	else
		ip->daddr = addr;
	return REASON_NONE;
}

/* Gives the datagram that the packet is a fragment of another identification. */
static __always_inline enum reason translate_id(const struct pkt *p, __be16 id)
{
	struct iphdr *ip = pkt_at(p->skb, PKT_L3, sizeof(*ip));

	if (!ip)
		return DROP_MALFORMED;
	ip->check = csum_replace16(ip->check, ip->id, id);
	ip->id = id;
	return REASON_NONE;
}

/* Gives one end of the packet another address and port. Pointers into the packet are invalid afterwards. */
static __always_inline enum reason translate(const struct pkt *p, enum translate_end end, __be32 addr, __be16 port, __u8 hops)
{
	bool source = end == TRANSLATE_SOURCE;
	bool query = p->proto == IPPROTO_ICMP; /* its identifier is parsed as sport, whichever way it goes */
	__be16 *at;

	translate_l4_csum(p, source ? p->src : p->dst, addr, source || query ? p->sport : p->dport, port);
	at = pkt_at(p->skb, translate_port_offset(p, end), sizeof(*at));
	if (!at)
		return DROP_TRANSPORT;
	*at = port;
	return translate_ip(p, end, addr, hops);
}

#endif
