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

/* What takes the address in a one's complement sum, in 16 bits. */
static __always_inline __u16 csum_addr(addr_t addr)
{
#if FAMILY == 6
	return csum_fold64((__u64)(__be32)addr + (__be32)(addr >> 32) + (__be32)(addr >> 64) + (__be32)(addr >> 96));
#else
	return csum_fold64(addr);
#endif
}

static __always_inline __u32 translate_port_offset(const struct pkt *p, enum translate_end end)
{
	if (p->h->proto == PROTO_ICMP)
		return p->h->l4 + offsetof(struct icmphdr, id);
	return p->h->l4 + (end == TRANSLATE_SOURCE ? 0 : 2); /* TCP and UDP begin with source, then destination */
}

static __always_inline __u32 translate_csum_offset(const struct pkt *p)
{
	if (p->h->proto == PROTO_ICMP)
		return p->h->l4 + offsetof(struct icmphdr, checksum);
	return p->h->l4 + (p->h->proto == IPPROTO_TCP ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check));
}

/*
 * Does bpf_l4_csum_replace() know that IPv6 has no header checksum to make up for the address? It says so from 6.16 on; before, a device
 * that sums whole packets is thought to have been wrong, and they are summed once more. Set by the loader.
 */
const volatile bool csum_knows_ipv6 = false;

/*
 * An address in the transport checksum. The helper knows what a program cannot see: whether the sum is complete or left to a device, in
 * which case it covers only the pseudo-header. ICMP has none, ICMPv6 has.
 */
static __always_inline void translate_csum_addr(const struct pkt *p, addr_t old, addr_t new)
{
	__u64 flags = BPF_F_PSEUDO_HDR | (p->h->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0);

	if (FAMILY == 4 && p->h->proto == PROTO_ICMP)
		return;
	if (FAMILY == 4)
		bpf_l4_csum_replace(p->skb, translate_csum_offset(p), (__be32)old, (__be32) new, flags | 4);
	else /* the sum of what is new and the complement of what is old, to be added as it is */
		bpf_l4_csum_replace(p->skb, translate_csum_offset(p), 0, (__u32)csum_addr(new) + (__u16)~csum_addr(old),
				    flags | (csum_knows_ipv6 ? BPF_F_IPV6 : 0));
}

/* The transport checksum; a port must not be added to one that is left to a device. */
static __always_inline void translate_l4_csum(const struct pkt *p, addr_t old, addr_t new, __be16 old_port, __be16 new_port)
{
	__u64 flags = p->h->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	translate_csum_addr(p, old, new);
	if (old_port != new_port)
		bpf_l4_csum_replace(p->skb, translate_csum_offset(p), old_port, new_port, flags | 2);
}

/* The TTL, or hop limit, of the IP header at at, less hops. */
static __always_inline void translate_hops(__u8 *at, __u8 hops)
{
	struct iphdr *ip = (void *)at;

	if (FAMILY == 6) {
		((struct ipv6hdr *)at)->hop_limit -= hops;
	} else if (hops) {
		ip->check = csum_replace16(ip->check, bpf_htons((__u16)ip->ttl << 8), bpf_htons((__u16)(ip->ttl - hops) << 8));
		ip->ttl -= hops;
	}
}

/* A packet that is routed as it is: one hop less. */
static __always_inline enum reason translate_hop(const struct pkt *p)
{
	__u8 *at = pkt_at(p->skb, PKT_L3, IP_HEADER_LEN);

	if (!at)
		return DROP_MALFORMED;
	translate_hops(at, 1);
	return REASON_NONE;
}

/* The IP header: one address, and the TTL or hop limit less hops. */
static __always_inline enum reason translate_ip(const struct pkt *p, enum translate_end end, addr_t addr, __u8 hops)
{
	__u8 *at = pkt_at(p->skb, PKT_L3, IP_HEADER_LEN);
	__u8 *octets = at + IP_SOURCE + (end == TRANSLATE_SOURCE ? 0 : ADDR_LEN);
	struct iphdr *ip = (void *)at;

	if (!at)
		return DROP_MALFORMED;
	translate_hops(at, hops);
	if (FAMILY == 4)
		ip->check = csum_replace32(ip->check, (__be32)addr_load(octets), (__be32)addr);
	addr_store(octets, addr);
	return REASON_NONE;
}

/* Gives the datagram that the packet is a fragment of another identification, of which IPv4 takes 16 bits. */
static __always_inline enum reason translate_id(const struct pkt *p, __be32 id)
{
	struct iphdr *ip;
	be32_bytes *at;

	if (FAMILY == 6) {
		at = pkt_at(p->skb, p->h->fragment_at + 4, sizeof(*at));
		if (!at)
			return DROP_MALFORMED;
		*at = id;
		return REASON_NONE;
	}
	ip = pkt_at(p->skb, PKT_L3, sizeof(*ip));
	if (!ip)
		return DROP_MALFORMED;
	ip->check = csum_replace16(ip->check, ip->id, id);
	ip->id = id;
	return REASON_NONE;
}

/* Gives one end of the packet another address and port. Pointers into the packet are invalid afterwards. */
static __always_inline enum reason translate(const struct pkt *p, enum translate_end end, addr_t addr, __be16 port, __u8 hops)
{
	bool source = end == TRANSLATE_SOURCE;
	bool query = p->h->proto == PROTO_ICMP; /* its identifier is parsed as sport, whichever way it goes */
	__be16 *at;

	translate_l4_csum(p, source ? p->h->src : p->h->dst, addr, source || query ? p->h->sport : p->h->dport, port);
	at = pkt_at(p->skb, translate_port_offset(p, end), sizeof(*at));
	if (!at)
		return DROP_TRANSPORT;
	*at = port;
	return translate_ip(p, end, addr, hops);
}

/* Gives one end of an ICMP error another address. */
static __always_inline enum reason translate_error(const struct pkt *p, enum translate_end end, addr_t addr, __u8 hops)
{
	translate_csum_addr(p, end == TRANSLATE_SOURCE ? p->h->src : p->h->dst, addr);
	return translate_ip(p, end, addr, hops);
}

#endif
