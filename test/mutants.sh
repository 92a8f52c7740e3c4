#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# mutants.sh [NAME...] - does anything notice when the translation is wrong? Makes one small fault after the other in a copy of the C
# sources, compiles, and runs the PROG_RUN tests, which have to fail. Fewer than 90 in 100 noticed is a failure.
set -euo pipefail

cd "$(dirname "$0")/.."
# Where the compiled datapath is is no business of others.
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cp -r . "$work/tree"
cd "$work/tree"

# name | file in bpf/lib | Perl substitution, which has to change the file
list() {
	cat <<-'END'
		live for ever            | life.h       | s/<= \(__s32\)\(session_timeout/>= (__s32)(session_timeout/
		claimed is live          | life.h       | s/life\.state > SESSION_CLAIMED && session_is_within/life.state >= SESSION_CLAIMED && session_is_within/
		half closed is closing   | life.h       | s/state <= SESSION_FIN_IN\)/state < SESSION_FIN_OUT)/
		no hold                  | life.h       | s/port_hold = 120/port_hold = 0/
		share of the dead        | life.h       | s/if \(!count\)/if (count == 77)/
		last share stays         | life.h       | s/__sync_fetch_and_sub\(sessions, 1\) == 1/__sync_fetch_and_sub(sessions, 1) == 0/
		any RST closes           | tcp.h        | s/if \(t->seq == t->mark\)\n\t\treturn SESSION_CLOSED;/if (t->seq != 0)\n\t\treturn SESSION_CLOSED;/
		far RST counts           | tcp.h        | s/return t->seq - t->mark < TCP_AHEAD &&/return/
		any answer to SYN        | tcp.h        | s/\(t->flags & TCP_ACK\) && t->ack == t->mark/(t->flags & TCP_ACK)/
		mark goes back           | tcp.h        | s/\(__s32\)\(t->ack - t->mark\) > 0 \? t->ack : t->mark/t->ack/
		mark of SYN ACK          | tcp.h        | s/to == SESSION_ESTABLISHED \? t->seq \+ 1/to == SESSION_ESTABLISHED ? t->seq/
		SYN does not open again  | tcp.h        | s/return state >= SESSION_FIN_OUT && !\(flags & TCP_ACK\)/return state > SESSION_CLOSED && !(flags & TCP_ACK)/
		FIN alone closes         | tcp.h        | s/if \(state == SESSION_FIN_OUT\)\n\t\t\treturn SESSION_LAST_OUT/if (state == SESSION_ESTABLISHED)\n\t\t\treturn SESSION_LAST_OUT/
		RST refreshes            | session.h    | s/endpoint && !\(p->h->tcp_flags & TCP_RST\)/endpoint/
		replies refresh          | session.h    | s/\(refreshes \|\| becomes\.state != was\.state\)/true/
		shares are kept          | session.h    | s/if \(life\.state != SESSION_DEAD\)\n\t\tsession_release/if (0)\n\t\tsession_release/
		usage is kept            | session.h    | s/\tusage_drop_session\(usage_lookup\(s->endpoint\)\);\n//
		no token goes back       | session.h    | s/\t\tbpf_map_push_elem\(&fo_expiry, &w->token, 0\);\n//
		no life published        | session.h    | s/\tsession_life_share\(&r->life.*?;\n//
		closed shuts others out  | life.h       | s/if \(sessions > 1 &&/if (sessions > 1000 \&\&/
		remote port ignored      | session.h    | s/s->flags & SESSION_MAPPED \? 0 : key->remote_port/0/
		mapping shared by all    | reply.h      | s/return r && reply_belongs\(.*?\) && share_get/return r && share_get/s
		swapped ports            | reply.h      | s/icmp \? p->h->sport : p->h->dport/icmp ? p->h->dport : p->h->sport/
		host socket's port       | port.h       | s/port_is_mapped\(t\) \|\| port_is_host_socket\(t->skb, &f->key\)/port_is_mapped(t)/
		first port only          | port.h       | s/bpf_htons\(wanted\)/bpf_htons(f->first)/
		one port too few         | port.h       | s/span = f->last - f->first \+ 1, wanted/span = f->last - f->first, wanted/
		stride of even steps     | port.h       | s/\(f->at >> 16\) \| 1/(f->at >> 16) \& ~1/
		bit stays set            | bitmap.h     | s/__sync_fetch_and_and\(bitmap_word\(b, port \/ 64\), ~\(1ULL/__sync_fetch_and_or(bitmap_word(b, port \/ 64), (1ULL/
		bit is not set           | bitmap.h     | s/bit = 1ULL << \(port % 64\);/bit = 0;/
		wrong bit                | bitmap.h     | s/BITMAP_DE_BRUIJN\) >> 58/BITMAP_DE_BRUIJN) >> 59/
		port beyond the range    | port.h       | s/if \(port < f->first \|\| port > f->last\)/if (0)/
		over is not vacated      | port.h       | s/if \(!session_is_over\(session_life_load\(&r->life\)/if (1 || !session_is_over(session_life_load(&r->life)/
		no limit of sessions     | usage.h      | s/READ_ONCE\(u->sessions\) >= ep->sessions_max/0/
		no limit of rate         | usage.h      | s/if \(level < 1000\)/if (level < 0)/
		no limit of mappings     | masquerade.h | s/READ_ONCE\(u->mappings\) >= ep->mappings_max/0/g
		mapping not counted      | masquerade.h | s/\tusage_add_mapping\(u\);\n//
		stale next hop           | masquerade.h | s/\taddr_store\(s->next_hop, req->next_hop\);\n//
		TTL not decremented      | translate.h  | s/ip->ttl -= hops;/;/
		TTL checksum             | translate.h  | s/bpf_htons\(\(__u16\)\(ip->ttl - hops\) << 8\)/bpf_htons((__u16)ip->ttl << 8)/
		address checksum         | translate.h  | s/\tip->check = csum_replace32\(ip->check, \(__be32\)addr_load\(octets\), \(__be32\)addr\);\n//
		port checksum            | translate.h  | s/if \(old_port != new_port\)/if (0)/
		pseudo header            | translate.h  | s/BPF_F_PSEUDO_HDR \| //
		UDP sum of zero          | translate.h  | s/p->h->proto == IPPROTO_UDP \? BPF_F_MARK_MANGLED_0 : 0/0/g
		identification checksum  | translate.h  | s/\tip->check = csum_replace16\(ip->check, ip->id, id\);\n//
		quote not translated     | icmp.h       | s/\t\*old = port;\n//
		quote's checksum         | icmp.h       | s/csum_replace16\(icmp->checksum, \*old, port\)/icmp->checksum/
		wrong ICMP sum passes    | icmp.h       | s/ \|\| !message_is_whole\(skb, l4, end, ip_pseudo\(skb, end - l4\)\)//
		source guard             | endpoint.h   | s/if \(!endpoint_has\(ep, p->h->src\) &&/if (0 \&\&/
		source MAC guard         | endpoint.h   | s/!mac_equal\(eth->h_source, ep->mac\)/0/
		overlap passes           | fragment.h   | s/d->state = DATAGRAM_REFUSED;\n\t\treturn DROP_FRAGMENT;/return REASON_NONE;/
		same identification      | fragment.h   | s/turn \* 40503 \+ port_secret/port_secret/
		fragments not held       | fragment.h   | s/return turn\.done \? REASON_NONE : DROP_FRAGMENT/return DROP_FRAGMENT/
		header checksum          | ip4.h        | s/== 0xffff \? REASON_NONE\s*: DROP_CHECKSUM/== 0xffff ? REASON_NONE : REASON_NONE/
		martians                 | ip4.h        | s/first == 0 \|\| first == 127 \|\| first >= 224/first == 0/
		strangers come in        | owner.h      | s/owner->mapped && tcp_begins/tcp_begins/
		SYN is answered          | forward.h    | s/return DROP_UNSOLICITED;\n\treturn deliver_unasked/return PASS_NO_SESSION;\n\treturn deliver_unasked/
		any endpoint's reply     | deliver.h    | s/endpoint_addr\(\*ep\) != inside/0/
		mapped port is taken     | port.h       | s/port_is_mapped\(t\) \|\| //
		reserved multicast       | endpoint.h   | s/mac\[5\] <= 0x0f/mac[5] < 0x0f/
		LLC passes               | endpoint.h   | s/bpf_ntohs\(p->h->ethertype\) < ETH_P_802_3_MIN/0/
		DHCP servers             | endpoint.h   | s/return endpoint_is_dhcp_server\(p\) \? DROP_DHCP_SERVER : REASON_NONE/return REASON_NONE/
		oversize passes          | segment.h    | s/p->skb->len - PKT_L3 > net->mtu/0/
		back out of its source   | segment.h    | s/ \|\| to->ifindex == p->skb->ifindex//
		isolation is ignored     | between.h    | s/!\(net->flags & to->flags & NETWORK_ROUTED\)/0/
		one network isolates     | between.h    | s/net->flags & to->flags/net->flags/
		no hop between networks  | between.h    | s/reason = translate_hop\(p\);/reason = REASON_NONE;/
		too large for the other  | between.h    | s/return pkt_fits\(p, mtu\) \? REASON_NONE : PASS_MTU/return REASON_NONE/
		scans pass               | deliver.h    | s/\treturn DROP_UNASSIGNED;/\treturn reason;/
		ND of any hop limit      | nd.h         | s/p->h->ttl != ND_HOP_LIMIT/0/
		ND of any MAC            | nd.h         | s/return w\.foreign \? DROP_ND_LINK_LAYER : REASON_NONE/return REASON_NONE/
		ND of any checksum       | nd.h         | s/ \|\| !message_is_whole\(p->skb, ND_AT, p->h->end, ip_pseudo\(p->skb, p->h->end - ND_AT\)\)//
		DAD is answered to one   | nd.h         | s/probe \? ND_ALL_NODES : addr_load/addr_load/
		every owner is a router  | nd.h         | s/owner->ifindex == net->bridge/true/
		no source at all         | nd.h         | s/\t\treturn DROP_SOURCE_IPV6;/\t\treturn REASON_NONE;/
		one header too many      | ip6.h        | s/bpf_loop\(IP6_EXTENSIONS \+ 1/bpf_loop(IP6_EXTENSIONS + 2/
		route header of type 0   | ip6.h        | s/w->reason = DROP_SOURCE_ROUTE;/w->reason = REASON_NONE;/
		ports far behind         | pkt.h        | s/p->h->l4 > PKT_OFFSET_MASK - sizeof\(struct tcphdr\)/0/
		address sum of IPv6      | translate.h  | s/\(__u32\)csum_addr\(new\) \+ \(__u16\)~csum_addr\(old\)/0/
		hop limit                | translate.h  | s/\)->hop_limit -= hops;/);/
	END
}

trim() { sed 's/^[[:space:]]*//; s/[[:space:]]*$//' <<<"$1"; }

# The mutants asked for, one a line: a change that changes nothing is found out before the first is tested.
chosen() {
	list | while IFS='|' read -r name file change; do
		name="$(trim "$name")" file="bpf/lib/$(trim "$file")" change="$(trim "$change")"
		if [ $# -gt 0 ] && ! printf '%s\n' "$@" | grep -qxF "$name"; then continue; fi
		if perl -0pe "$change" "$file" | cmp -s - "$file"; then
			echo "mutants: $name: nothing to change in $file" >&2
			exit 1
		fi
		printf '%s|%s|%s\n' "$name" "$file" "$change"
	done
}

sed -i 's/-Werror //' bpf/gen.go # a mutant may leave something unused
chosen "$@" >"$work/chosen"
noticed=0 all=0
while IFS='|' read -r name file change; do
	cp "$file" "$work/original"
	perl -0pi -e "$change" "$file"
	if ! go generate ./bpf >"$work/log" 2>&1; then
		echo "mutants: $name does not compile:" >&2
		cat "$work/log" >&2
		exit 1
	fi
	all=$((all + 1))
	if FLYOVER_DIFF_PACKETS=100000 go test -count=1 -failfast -timeout 30m ./test/prog >"$work/log" 2>&1 </dev/null; then
		echo "MISSED   $name"
	else
		noticed=$((noticed + 1))
		echo "noticed  $name: $(grep -m 1 -oE -e '--- FAIL: [A-Za-z0-9_/]+|load: .{0,60}|test timed out' "$work/log")"
	fi
	cp "$work/original" "$file"
done <"$work/chosen"
echo "$noticed of $all noticed"
[ $((noticed * 100)) -ge $((all * 90)) ]
