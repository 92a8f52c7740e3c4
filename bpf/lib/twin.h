/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* twin.h - hands IPv6 from the programs at the hooks, which are IPv4's, to their twins. Owns the fo_twins map. See family.h. */
#ifndef FLYOVER_TWIN_H
#define FLYOVER_TWIN_H

#include "family.h"
#include "kernel.h"
#include "reason.h"

#if FAMILY == 4

/* Index: enum hook. The programs for IPv6 of the same build; pinned with them. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, HOOK_COUNT);
	__type(key, enum hook);
	__type(value, __u32);
} fo_twins SEC(".maps");

/* Does not return with IPv6, unless there is no twin: true then. */
static __always_inline bool twin_takes(struct __sk_buff *skb, enum hook hook)
{
	if (skb->protocol != bpf_htons(ETH_P_IPV6))
		return false;
	bpf_tail_call(skb, &fo_twins, hook);
	return true;
}

#else

static __always_inline bool twin_takes(__attribute__((unused)) struct __sk_buff *skb, __attribute__((unused)) enum hook hook)
{
	return false;
}

#endif

#endif
