/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* kernel.h - what every header takes from the kernel and from libbpf, and the few constants that live in neither's UAPI headers. */
#ifndef FLYOVER_KERNEL_H
#define FLYOVER_KERNEL_H

#include <stddef.h>
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_HLEN 4 /* linux/if_vlan.h */

#define AF_INET 2
#define AF_INET6 10

/* linux/if_arp.h and linux/icmp.h, which drag in the C library. */
#define ARPHRD_ETHER 1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2

#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMP_TIMESTAMP 13
#define ICMP_TIMESTAMPREPLY 14

struct icmphdr {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id; /* of a query; an error's first half of the unused word */
	__be16 sequence;
};

#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PKT_TOOBIG 2
#define ICMPV6_TIME_EXCEED 3
#define ICMPV6_PARAMPROB 4
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129
#define ICMPV6_MGM_REPORT 131
#define ICMPV6_MGM_REDUCTION 132
#define ICMPV6_ROUTER_SOLICITATION 133
#define ICMPV6_ROUTER_ADVERTISEMENT 134
#define ICMPV6_NEIGHBOUR_SOLICITATION 135
#define ICMPV6_NEIGHBOUR_ADVERTISEMENT 136
#define ICMPV6_REDIRECT 137
#define ICMPV6_MLD2_REPORT 143

/* include/net/ip.h: flags and offset of the fragment field. */
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

/* The kernel's READ_ONCE, for words that other CPUs change. */
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

/*
 * Addresses are byte arrays where people read them, in maps and headers, and words in registers. A byte array has no alignment
 * that the compiler could know of; these types let it load words all the same, which the machines that eBPF is compiled for here do
 * from any address.
 */
typedef __be32 __attribute__((may_alias)) be32_bytes;
typedef __be16 __attribute__((may_alias)) be16_bytes;
typedef __be64 __attribute__((may_alias)) be64_bytes;

/* Of the last 64 bits of an IPv6 address whose first are 0: unspecified, loopback, or an IPv4 address in IPv6's clothes (RFC 4291). */
static __always_inline bool addr6_is_special(__be64 last)
{
	return !last || last == bpf_cpu_to_be64(1) || (__be32)last == bpf_htonl(0xffff);
}

static __always_inline bool mac_equal(const __u8 *a, const __u8 *b)
{
	return *(const be32_bytes *)a == *(const be32_bytes *)b && *(const be16_bytes *)(a + 4) == *(const be16_bytes *)(b + 4);
}

static __always_inline void mac_copy(__u8 *to, const __u8 *from)
{
	*(be32_bytes *)to = *(const be32_bytes *)from;
	*(be16_bytes *)(to + 4) = *(const be16_bytes *)(from + 4);
}

#endif
