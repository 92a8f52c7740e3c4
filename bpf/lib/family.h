/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * family.h - the address family that these sources are compiled for. They are compiled twice, with FAMILY 4 and with FAMILY 6, into two
 * objects. The one for IPv4 is at the hooks, and hands what is IPv6 to its twin by a tail call, so that each family has a stack of its
 * own, and neither pays for the other's addresses.
 *
 * What differs in size or name between the two is here; what differs in the headers of packets is in ip4.h and ip6.h.
 */
#ifndef FLYOVER_FAMILY_H
#define FLYOVER_FAMILY_H

#include "kernel.h"

/* An address as on the wire, in registers. In maps and headers it is an array of octets, since people read those. */
#if FAMILY == 6
typedef unsigned __int128 addr_t;
#define ADDR_LEN 16
#define ADDR_ALIGN 8
#define ETH_P_FAMILY ETH_P_IPV6
#define ip_header ipv6hdr
#define AF_FAMILY AF_INET6
#define PROTO_ICMP IPPROTO_ICMPV6
#define IP_SOURCE offsetof(struct ipv6hdr, saddr)
#else
typedef __be32 addr_t;
#define ADDR_LEN 4
#define ADDR_ALIGN 4
#define ETH_P_FAMILY ETH_P_IP
#define ip_header iphdr
#define AF_FAMILY AF_INET
#define PROTO_ICMP IPPROTO_ICMP
#define IP_SOURCE offsetof(struct iphdr, saddr)
#endif
#define IP_HEADER_LEN sizeof(struct ip_header) /* the addresses are at IP_SOURCE, one behind the other */

/* A field of a map's key or value. Aligned, so that it is read and written by words also where it is on the stack. */
#define ADDRESS(field) __u8 field[ADDR_LEN] __attribute__((aligned(ADDR_ALIGN)))
/* Octets that fill a key or value up: so many of IPv4's, and so many of IPv6's. */
#define PADDING(field, four, six) __u8 field[FAMILY == 6 ? six : four]

static __always_inline addr_t addr_load(const __u8 *octets)
{
#if FAMILY == 6
	return (addr_t)((const be64_bytes *)octets)[1] << 64 | ((const be64_bytes *)octets)[0];
#else
	return *(const be32_bytes *)octets;
#endif
}

static __always_inline void addr_store(__u8 *octets, addr_t addr)
{
#if FAMILY == 6
	((be64_bytes *)octets)[0] = addr;
	((be64_bytes *)octets)[1] = addr >> 64;
#else
	*(be32_bytes *)octets = addr;
#endif
}

/* The same where nothing is aligned to more than 32 bits: keys of prefixes begin with a length of that size. */
static __always_inline addr_t addr_load_words(const __u8 *octets)
{
	const be32_bytes *word = (const be32_bytes *)octets;

#if FAMILY == 6
	return (addr_t)word[3] << 96 | (addr_t)word[2] << 64 | (addr_t)word[1] << 32 | word[0];
#else
	return word[0];
#endif
}

static __always_inline void addr_store_words(__u8 *octets, addr_t addr)
{
	be32_bytes *word = (be32_bytes *)octets;

	word[0] = addr;
#if FAMILY == 6
	word[1] = addr >> 32;
	word[2] = addr >> 64;
	word[3] = addr >> 96;
#endif
}

/* Tables of sessions: who has no IPv6 is to have no memory taken for it. */
#define FAMILY_PREALLOC (FAMILY == 6 ? BPF_F_NO_PREALLOC : 0)

/* Maps of which each family has its own. All others are shared. */
#if FAMILY == 6
#define FAMILY_MAP(name) name##6
#else
#define FAMILY_MAP(name) name##4
#endif
#define fo_bitmaps FAMILY_MAP(fo_bitmaps)
#define fo_datagrams FAMILY_MAP(fo_datagrams)
#define fo_exempt FAMILY_MAP(fo_exempt)
#define fo_expiry FAMILY_MAP(fo_expiry)
#define fo_mappings FAMILY_MAP(fo_mappings)
#define fo_neighbours FAMILY_MAP(fo_neighbours)
#define fo_ports FAMILY_MAP(fo_ports)
#define fo_pressed FAMILY_MAP(fo_pressed)
#define fo_replies FAMILY_MAP(fo_replies)
#define fo_sessions FAMILY_MAP(fo_sessions)
#define fo_subnets FAMILY_MAP(fo_subnets)

#endif
