/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* reason.h - why did a packet go where it went? Owns the fo_reasons map and the only way out of a program, verdict(). */
#ifndef FLYOVER_REASON_H
#define FLYOVER_REASON_H

#include "kernel.h"

/*
 * What became of a packet. The prefix is the class: FORWARD_ and ANSWER_ packets were redirected, PASS_ packets were handed to
 * the Linux stack, DROP_ packets are gone. The order of the classes is the order of the *_FIRST bounds below.
 */
enum reason {
	REASON_NONE = 0, /* "go on"; of a whole program: a fragment is held. Never counted */

	FORWARD_ENDPOINT, /* to an endpoint of the same network */
	FORWARD_NETWORK,  /* to an endpoint of another network of this host */
	FORWARD_OUTSIDE,  /* translated, to an uplink */
	FORWARD_INSIDE,	  /* translated back, to an endpoint */
	FORWARD_HAIRPIN,  /* translated and translated back, to the endpoint that an outside port stands for */
	FORWARD_ICMP_IN,  /* ICMP error about a session, translated back, to an endpoint */
	ANSWER_ARP,	  /* ARP request answered */
	ANSWER_ND,	  /* neighbour solicitation answered */

	PASS_HOST,	/* for the host itself: its gateway address or another of its addresses */
	PASS_BROADCAST, /* broadcast or multicast frame: the bridge floods it */
	PASS_BRIDGE, /* from or to somebody behind an endpoint without source guard: the kernel's bridge learns, knows or floods */
	PASS_ETHERTYPE, /* none of IPv4, IPv6 and ARP */
	PASS_FRAGMENT,	/* fragment that is routed */
	PASS_OPTIONS,	/* IPv4 options, or IPv6 hop-by-hop options, on a routed packet */
	PASS_PROTOCOL,	/* IP protocol without ports, routed */
	PASS_TTL,	/* TTL runs out here: the stack answers */
	PASS_MTU,	/* larger than the uplink takes: the stack fragments or answers */
	PASS_ROUTE, /* to the broadcast address of another network of this host, or to who is not configured there: the stack's */
	PASS_ROUTED,	 /* network without masquerade, or exempt destination: the stack routes */
	PASS_NO_SESSION, /* from an uplink, belongs to no session: the host's own traffic */
	PASS_OWN,	 /* to an uplink, not from inside: the host's own traffic */
	PASS_TRANSLATED, /* to an uplink, translated by flyover before */
	PASS_ICMP,	 /* to an uplink, the host's ICMP error about a translated packet, its quotation translated */
	PASS_TO_UPLINK,	 /* to an uplink by way of the stack, translated here */

	DROP_NOT_ENDPOINT,  /* the interface is no endpoint's */
	DROP_MALFORMED,	    /* truncated or inconsistent Ethernet, IPv4 or IPv6 header */
	DROP_TRANSPORT,	    /* truncated TCP, UDP or ICMP header */
	DROP_CHECKSUM,	    /* wrong IPv4 header checksum, or ICMP checksum of an error message, on a routed packet */
	DROP_MARTIAN,	    /* source or destination that is never routed (RFC 1812 section 5.3.7) */
	DROP_SOURCE_ROUTE,  /* IPv4 source route option, or IPv6 routing header of type 0 (RFC 5095) */
	DROP_RESERVED,	    /* frame to 01-80-C2-00-00-00 to 0F, which no bridge forwards (IEEE 802.1D section 7.12.6) */
	DROP_VLAN,	    /* VLAN tag: would hide the addresses from the source guard */
	DROP_LLC,	    /* IEEE 802.3 length in place of the type: LLC and SNAP would hide them too */
	DROP_OVERSIZE,	    /* frame to another endpoint, larger than the network's MTU */
	DROP_ISOLATED,	    /* to an endpoint of another network of this host, and one of the two is isolated */
	DROP_UNASSIGNED,    /* to an address of a network of this host that nobody has */
	DROP_UNKNOWN_MAC,   /* unicast frame to a MAC that is nobody's on the network, or of where it comes from */
	DROP_SOURCE_MAC,    /* source MAC is not the endpoint's */
	DROP_SOURCE_IPV4,   /* IPv4 source is not the endpoint's */
	DROP_SOURCE_IPV6,   /* IPv6 source is not the endpoint's */
	DROP_DHCP_SERVER,   /* UDP from port 67 or 547, a DHCP server's: the endpoint is none */
	DROP_IPV6,	    /* the endpoint has no IPv6 address */
	DROP_EXTENSIONS,    /* more IPv6 extension headers than are looked behind */
	DROP_ARP_MALFORMED, /* not ARP for IPv4 over Ethernet, or truncated, or an unknown operation */
	DROP_ARP_SENDER,    /* ARP sender fields are not the endpoint's */
	DROP_ARP_OWN,	    /* probe or announcement of the endpoint's own address: RFC 5227 wants silence */
	DROP_ARP_TARGET,    /* nobody on the network has the address asked for */
	DROP_ARP_REPLY,	    /* ARP reply to anybody but the host */
	DROP_ND_MALFORMED, /* neighbour discovery that RFC 4861 section 7.1 or RFC 6980 calls invalid, or behind extension headers */
	DROP_ND_LINK_LAYER,    /* neighbour discovery that tells a link-layer address which is not the endpoint's */
	DROP_ND_OWN,	       /* duplicate address detection of the endpoint's own address: RFC 4862 wants silence */
	DROP_ND_TARGET,	       /* solicitation of an address that nobody on the network has, or advertisement of another's */
	DROP_ND_ADVERTISEMENT, /* neighbour advertisement to anybody but the host */
	DROP_ND_ROUTER,	       /* router solicitation, advertisement or redirect: routes are configured */
	DROP_NO_ENDPOINT,      /* the session's endpoint is gone, or its address has another owner */
	DROP_ROUTE,	       /* the host's route leads to an interface that is no uplink: it would show inside addresses */
	DROP_NO_UPLINK,	       /* the session's uplink is gone */
	DROP_UNSOLICITED,      /* from an uplink to an inside address, or SYN to a port of the translation, and nobody asked */
	DROP_NO_PORT,	       /* no free outside port towards this remote */
	DROP_SESSIONS_FULL,    /* the session table is full of live sessions */
	DROP_SESSION_RACE,     /* another CPU is making this very session */
	DROP_LIMIT_RATE,       /* the endpoint makes sessions faster than its limit */
	DROP_LIMIT_SESSIONS,   /* the endpoint has as many sessions as its limit */
	DROP_LIMIT_MAPPINGS,   /* the endpoint has as many outside ports as its limit */
	DROP_LIMIT_FLOOD,      /* the endpoint broadcasts faster than its limit */
	DROP_RESET,	       /* TCP RST from inside that belongs to no session */
	DROP_FRAGMENT, /* fragment whose datagram is refused, whose first one did not come, or that there is no room for */
	DROP_PROTOCOL, /* IP protocol from inside that cannot be translated */
	DROP_ICMP,     /* ICMP message from inside that belongs to no session */

	REASON_COUNT, /* how many there are; no reason itself */
};

/* Size of the map: with room, so that a newer build's reasons fit into the map that is there. */
#define REASONS_MAX 128
_Static_assert(REASON_COUNT <= REASONS_MAX, "fo_reasons is full");

/* First reason of each class. */
enum {
	REASON_PASS_FIRST = PASS_HOST,
	REASON_DROP_FIRST = DROP_NOT_ENDPOINT,
};

/* The program that decided. */
enum hook {
	HOOK_FROM_ENDPOINT,
	HOOK_FROM_UPLINK,
	HOOK_TO_UPLINK,
	HOOK_COUNT,
};

/* Packets as the stack hands them over (a GSO packet is one) and their bytes, Ethernet header included. */
struct tally {
	__u64 packets;
	__u64 bytes;
};

struct reason_entry {
	enum reason reason; /* the index again, so that a dump shows its name; REASON_NONE until first counted */
	__u32 pad;
	struct tally from_endpoint;
	struct tally from_uplink;
	struct tally to_uplink;
};
_Static_assert(sizeof(struct reason_entry) == 8 + HOOK_COUNT * sizeof(struct tally), "one tally a hook");

/* Index: enum reason. Written by verdict() alone, read by `flyover status`. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS_MAX);
	__type(key, __u32);
	__type(value, struct reason_entry);
} fo_reasons SEC(".maps");

static __always_inline struct tally *reason_tally(struct reason_entry *e, enum hook hook)
{
	switch (hook) {
	case HOOK_FROM_ENDPOINT:
		return &e->from_endpoint;
	case HOOK_FROM_UPLINK:
		return &e->from_uplink;
	default:
		return &e->to_uplink;
	}
}

/* Only for what has no verdict of its own: a packet that was held and is lost. */
static __always_inline void reason_count(__u32 bytes, enum hook hook, enum reason reason)
{
	__u32 index = reason;
	struct reason_entry *e = bpf_map_lookup_elem(&fo_reasons, &index);
	struct tally *t;

	if (!e)
		return;
	t = reason_tally(e, hook);
	e->reason = reason;
	t->packets++;
	t->bytes += bytes;
}

/*
 * The only exit: counts the packet, as many bytes as it came with, under the reason, and turns its class into the action. A
 * redirect helper has already noted where to; passing is "next", so that programs of others on the same hook see what we leave to
 * the stack. What is held is gone from here, and counted when it comes again.
 */
static __always_inline int verdict(__u32 bytes, enum hook hook, enum reason reason)
{
	if (!reason)
		return TC_ACT_SHOT;
	reason_count(bytes, hook, reason);
	if (reason >= (enum reason)REASON_DROP_FIRST)
		return TC_ACT_SHOT;
	if (reason >= (enum reason)REASON_PASS_FIRST)
		return TC_ACT_UNSPEC;
	return TC_ACT_REDIRECT;
}

#endif
