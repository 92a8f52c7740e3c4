/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * port.h - which outside port does a session get? The source port if it is free, else a full-cycle stride over the uplink's
 * range whose start and step come from a keyed hash (RFC 6056): no clustering, and every port has its turn. Inserting into
 * fo_replies4 is test and claim in one; entries whose session is over are taken over in place.
 */
#ifndef FLYOVER_PORT_H
#define FLYOVER_PORT_H

#include "kernel.h"
#include "session.h"
#include "uplink.h"

/* Ports tried before a session is refused. */
#define PORT_TRIES 128

/* Key of the hash, random for each load, so that ports cannot be told from outside. */
const volatile __u32 port_secret = 0;

/* Mixes the tuple under the secret: xorshift-multiply, as good as is needed to scatter ports. */
static __always_inline __u32 port_hash(const struct session4_key *key)
{
	__u32 h = port_secret;

	h = (h ^ addr4_load(key->inside)) * 0x85ebca6b;
	h = (h ^ (h >> 15) ^ addr4_load(key->remote)) * 0xc2b2ae35;
	h = (h ^ (h >> 13) ^ ((__u32)key->inside_port << 16 | key->remote_port)) * 0x85ebca6b;
	h = (h ^ (h >> 16) ^ key->proto) * 0xc2b2ae35;
	return h ^ (h >> 16);
}

/* Ends the session that holds r, if it is over. True: r is claimed by us and free to be filled anew. */
static __always_inline bool port_take(const struct reply4_key *reply_key, struct reply4_entry *r, __u32 now)
{
	struct session_life copy = session_life_load(&r->life);
	struct session4_key key;
	struct session4_entry *s;

	if (copy.state == SESSION_CLAIMED)
		return false;
	/* Not before: should r change hands from here on, claiming it under the life that it had fails. */
	asm volatile("" : : : "memory");
	key = reply4_session_key(reply_key, r);
	s = bpf_map_lookup_elem(&fo_sessions4, &key);
	if (s) {
		struct session_life life = session_life_load(&s->life);

		if (life.state == SESSION_CLAIMED) /* its maker may be about to say that this port is its */
			return false;
		if (s->outside_port != reply_key->outside_port || addr4_load(s->outside) != addr4_load(reply_key->outside))
			return session_claim(&r->life, copy);
		if (!session_is_over(life, key.proto, now) ||
		    !session_life_swap(&s->life, life, (struct session_life){ .seen = life.seen, .state = SESSION_DEAD }))
			return false;
	}
	return session_claim(&r->life, copy);
}

/* A port of the host's own sockets, listening or connected to this remote, is never used (CVE-2021-3773). */
static __always_inline bool port_is_host_socket(struct __sk_buff *skb, const struct reply4_key *key)
{
	struct bpf_sock_tuple tuple = {
		.ipv4.saddr = addr4_load(key->remote),
		.ipv4.daddr = addr4_load(key->outside),
		.ipv4.sport = key->remote_port,
		.ipv4.dport = key->outside_port,
	};
	struct bpf_sock *sk = NULL;

	if (key->proto == IPPROTO_TCP)
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	else if (key->proto == IPPROTO_UDP)
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	bpf_sk_release(sk);
	return true;
}

/*
 * Makes wanted's port that of the session mine: 1, or 0 if it is taken. The entry stays SESSION_CLAIMED until the session is
 * whole. Global for the verifier's sake, as session4_collect(); the copies are for kernels before 6.4, whose map helpers take
 * keys and values from the stack but not from a global function's arguments.
 */
__noinline int port_try(struct __sk_buff *skb, const struct reply4_key *wanted, const struct reply4_entry *mine)
{
	struct reply4_entry fresh, *r;
	struct reply4_key key;

	if (!wanted || !mine)
		return 0;
	key = *wanted;
	fresh = *mine;
	if (port_is_host_socket(skb, &key))
		return 0;
	if (!bpf_map_update_elem(&fo_replies4, &key, &fresh, BPF_NOEXIST))
		return 1;
	r = bpf_map_lookup_elem(&fo_replies4, &key);
	if (!r || !port_take(&key, r, fresh.life.seen))
		return 0;
	addr4_store(r->inside, addr4_load(fresh.inside));
	r->inside_port = fresh.inside_port;
	r->endpoint = fresh.endpoint;
	return 1;
}

/* Sets key->outside_port and claims it: 1, or 0 if every port tried was taken. Global as port_try(). */
__noinline int port_claim(struct __sk_buff *skb, struct reply4_key *key, const struct reply4_entry *fresh,
			  const struct uplink_entry *up, __u32 hash)
{
	__u32 first, span, wanted, mask, step = (hash >> 16) | 1, at = hash;

	if (!key || !fresh || !up)
		return 0;
	first = up->port_first;
	span = up->port_last - first + 1;
	mask = span - 1;
	wanted = bpf_ntohs(fresh->inside_port);
	if (wanted >= first && wanted <= up->port_last) {
		key->outside_port = fresh->inside_port;
		if (port_try(skb, key, fresh))
			return 1;
	}
	/* The next power of two, less one: any odd step visits all its residues. Those past the range are folded into it. */
	mask |= mask >> 1;
	mask |= mask >> 2;
	mask |= mask >> 4;
	mask |= mask >> 8;
	for (int i = 0; i < PORT_TRIES; i++) {
		at = (at + step) & mask;
		key->outside_port = bpf_htons(first + (at < span ? at : at - span));
		if (port_try(skb, key, fresh))
			return 1;
	}
	return 0;
}

#endif
