/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* endpoint.h - who is behind this interface, and is it who it says? Owns the fo_endpoints and fo_traffic maps. */
#ifndef FLYOVER_ENDPOINT_H
#define FLYOVER_ENDPOINT_H

#include "family.h"
#include "kernel.h"
#include "pkt.h"
#include "reason.h"

#define ENDPOINTS_MAX 16384

struct endpoint_key {
	__u32 ifindex; /* of the host's end of the veth pair */
};

/* Identity is set by control alone; nothing learned from packets widens it. */
struct endpoint_entry {
	__u32 id;      /* index into fo_traffic */
	__u32 network; /* index into fo_networks */
	__u8 addr4[4]; /* its IPv4 address; 0.0.0.0: none */
	__u8 mac[ETH_ALEN];
	bool unguarded; /* it may send as others that are not configured, see lib/unguarded.h */
	__u8 pad[1];
	__u8 addr6[16]; /* its IPv6 address, besides the link-local one that its MAC makes; ::: none of either kind */
	/* What it may take of the translation, see lib/usage.h. 0: no limit. */
	__u32 sessions_max;
	__u32 mappings_max;
	__u32 sessions_rate;  /* new ones a second */
	__u32 sessions_burst; /* new ones at once */
	/* Frames that the bridge copies to everybody, a second and at once. 0: no limit. */
	__u32 broadcasts_rate;
};
_Static_assert(sizeof(struct endpoint_entry) == 56, "no hidden padding");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENDPOINTS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint_key);
	__type(value, struct endpoint_entry);
} fo_endpoints SEC(".maps");

/* Seen from the endpoint. What reaches it by way of the stack is not in received. */
struct traffic_entry {
	struct tally sent;     /* everything that the endpoint sent */
	struct tally received; /* what the fast path put into the endpoint */
	struct tally dropped;  /* of what it sent */
};

/* Index: endpoint id, given by control. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ENDPOINTS_MAX);
	__type(key, __u32);
	__type(value, struct traffic_entry);
} fo_traffic SEC(".maps");

static __always_inline struct endpoint_entry *endpoint_lookup(__u32 ifindex)
{
	struct endpoint_key key = { .ifindex = ifindex };

	return bpf_map_lookup_elem(&fo_endpoints, &key);
}

static __always_inline void endpoint_count_sent(__u32 id, __u32 bytes, enum reason reason)
{
	struct traffic_entry *t = bpf_map_lookup_elem(&fo_traffic, &id);

	if (!t || !reason) /* what is held comes again */
		return;
	t->sent.packets++;
	t->sent.bytes += bytes;
	if (reason >= (enum reason)REASON_DROP_FIRST) {
		t->dropped.packets++;
		t->dropped.bytes += bytes;
	}
}

static __always_inline void endpoint_count_received(__u32 id, __u32 bytes)
{
	struct traffic_entry *t = bpf_map_lookup_elem(&fo_traffic, &id);

	if (!t)
		return;
	t->received.packets++;
	t->received.bytes += bytes;
}

/* Is the multicast address one that never leaves its link: spanning tree, PAUSE, LACP, LLDP and their kind? */
static __always_inline bool endpoint_is_reserved(const __u8 *mac)
{
	return *(const be32_bytes *)mac == bpf_htonl(0x0180c200) && !mac[4] && mac[5] <= 0x0f;
}

/* The link-local address of IPv6 that a MAC makes (RFC 4291 appendix A), as two words in the order of the wire. */
static __always_inline bool endpoint_mac_makes(const __u8 *mac, __be64 first, __be64 last)
{
	const be16_bytes *m = (const be16_bytes *)mac;

	return first == bpf_cpu_to_be64(0xfe80ULL << 48) &&
	       bpf_be64_to_cpu(last) == ((__u64)(bpf_ntohs(m[0]) ^ 0x200) << 48 | (__u64)(bpf_ntohs(m[1]) & 0xff00) << 32 |
					 0xfffeULL << 24 | (__u64)(bpf_ntohs(m[1]) & 0xff) << 16 | bpf_ntohs(m[2]));
}

/* The endpoint's address of the family, 0 if it has none. */
static __always_inline addr_t endpoint_addr(const struct endpoint_entry *ep)
{
	return addr_load(FAMILY == 6 ? ep->addr6 : ep->addr4);
}

/* Is the address one of the endpoint's? 0 is nobody's, also of who has none of the family. */
static __always_inline bool endpoint_has(const struct endpoint_entry *ep, addr_t addr)
{
#if FAMILY == 6
	return addr == endpoint_addr(ep) || endpoint_mac_makes(ep->mac, addr, addr >> 64);
#else
	return addr && addr == endpoint_addr(ep);
#endif
}

/* DHCP servers, RFC 2131 section 4.1 and RFC 8415 section 7.2. */
#define DHCP_SERVER_PORT bpf_htons(FAMILY == 6 ? 547 : 67)

/*
 * Does UDP come from a DHCP server's port? Who follows it there takes its routes and name servers from the endpoint. Later fragments need
 * no look: without their first one they are nothing.
 */
static __always_inline bool endpoint_is_dhcp_server(const struct pkt *p)
{
	const __u32 usual = PKT_L3 + IP_HEADER_LEN;
	struct udphdr udp, *at;

	if (p->h->proto != IPPROTO_UDP || !p->h->first)
		return false;
	if (p->h->l4 == usual) {
		at = pkt_at(p->skb, usual, sizeof(*at));
		return at && at->source == DHCP_SERVER_PORT;
	}
	return !bpf_skb_load_bytes(p->skb, p->h->l4, &udp, sizeof(udp)) && udp.source == DHCP_SERVER_PORT;
}

/*
 * The source guard on a frame's Ethernet and IP source. ARP's sender fields are arp.h's, the sources of who has none yet nd.h's.
 * Tags and LLC/SNAP are refused first: behind them the addresses would stand elsewhere (CVE-2021-27853 and its kind).
 */
static __always_inline enum reason endpoint_admit(const struct endpoint_entry *ep, const struct pkt *p)
{
	struct ethhdr *eth = pkt_eth(p);

	if (!eth)
		return DROP_MALFORMED;
	if ((eth->h_dest[0] & 1) && endpoint_is_reserved(eth->h_dest))
		return DROP_RESERVED;
	if (p->skb->vlan_present || p->h->ethertype == bpf_htons(ETH_P_8021Q) || p->h->ethertype == bpf_htons(ETH_P_8021AD))
		return DROP_VLAN;
	if (bpf_ntohs(p->h->ethertype) < ETH_P_802_3_MIN)
		return DROP_LLC;
	if (!mac_equal(eth->h_source, ep->mac))
		return DROP_SOURCE_MAC;
	if (p->h->ethertype == bpf_htons(ETH_P_IPV6) && (FAMILY == 4 || !endpoint_addr(ep)))
		return DROP_IPV6;
	if (p->h->ethertype != bpf_htons(ETH_P_FAMILY))
		return REASON_NONE;
	if (!endpoint_has(ep, p->h->src) && (FAMILY == 4 || p->h->src))
		return FAMILY == 6 ? DROP_SOURCE_IPV6 : DROP_SOURCE_IPV4;
	if (FAMILY == 6 && p->h->first && p->h->proto == IPPROTO_UDP && p->h->l4 + sizeof(struct udphdr) > p->h->end)
		return DROP_TRANSPORT; /* its ports would be in another fragment */
	return endpoint_is_dhcp_server(p) ? DROP_DHCP_SERVER : REASON_NONE;
}

#endif
