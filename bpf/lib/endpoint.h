/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* endpoint.h - who is behind this interface, and is it who it says? Owns the fo_endpoints and fo_traffic maps. */
#ifndef FLYOVER_ENDPOINT_H
#define FLYOVER_ENDPOINT_H

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
	__u8 pad[2];
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
	return addr4_load(mac) == bpf_htonl(0x0180c200) && !mac[4] && mac[5] <= 0x0f;
}

/*
 * Does UDP come from a DHCP server's port (RFC 2131 section 4.1)? Who follows it there takes its routes and name servers from the
 * endpoint. Later fragments need no look: without their first one they are nothing.
 */
static __always_inline bool endpoint_is_dhcp_server(const struct pkt *p)
{
	struct udphdr *udp;

	if (p->proto != IPPROTO_UDP || !p->first)
		return false;
	if (p->options) /* PKT_HEADERS did not reach over them */
		pkt_pull(p->skb, p->l4 + sizeof(*udp));
	udp = pkt_at(p->skb, p->l4, sizeof(*udp));
	return udp && udp->source == bpf_htons(67);
}

/*
 * The source guard on a frame's Ethernet and IPv4 source. ARP's sender fields are arp.h's.
 * Tags and LLC/SNAP are refused first: behind them the addresses would stand elsewhere (CVE-2021-27853 and its kind).
 */
static __always_inline enum reason endpoint_admit(const struct endpoint_entry *ep, const struct pkt *p)
{
	if ((p->destination[0] & 1) && endpoint_is_reserved(p->destination))
		return DROP_RESERVED;
	if (p->skb->vlan_present || p->ethertype == bpf_htons(ETH_P_8021Q) || p->ethertype == bpf_htons(ETH_P_8021AD))
		return DROP_VLAN;
	if (bpf_ntohs(p->ethertype) < ETH_P_802_3_MIN)
		return DROP_LLC;
	if (!mac_equal(p->source, ep->mac))
		return DROP_SOURCE_MAC;
	if (p->ethertype == bpf_htons(ETH_P_IP) && p->src != addr4_load(ep->addr4))
		return DROP_SOURCE_IPV4;
	if (p->ethertype == bpf_htons(ETH_P_IP) && endpoint_is_dhcp_server(p))
		return DROP_DHCP_SERVER;
	return REASON_NONE;
}

/* The link-local address that a MAC makes (RFC 4291 appendix A). */
static __always_inline bool addr6_is_of_mac(const __u8 *addr, const __u8 *mac)
{
	const be32_bytes *word = (const be32_bytes *)addr;

	return word[0] == bpf_htonl(0xfe800000) && !word[1] && addr[8] == (mac[0] ^ 2) && addr[9] == mac[1] &&
	       addr[10] == mac[2] && addr[11] == 0xff && addr[12] == 0xfe && addr[13] == mac[3] &&
	       *(const be16_bytes *)(addr + 14) == *(const be16_bytes *)(mac + 4);
}

/* Is the IPv6 address one of the endpoint's? */
static __always_inline bool endpoint_has_addr6(const struct endpoint_entry *ep, const __u8 *addr)
{
	return addr6_equal(addr, ep->addr6) || addr6_is_of_mac(addr, ep->mac);
}

#endif
