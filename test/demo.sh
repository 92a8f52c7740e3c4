#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh - show flyover at work in labs, throw-away hosts, and check everything that is shown. `make demo` calls it as root
# with FLYOVER, the absolute path of the binary. With --in-lab it is the part that runs in the lab.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

bold='' green='' red='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
	bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
ok() { printf '%sok%s  %s\n' "$green" "$plain" "$*"; }
fail() {
	trap - ERR
	printf '%sdemo: FAILED: %s%s\n' "$red" "$*" "$plain" >&2
	exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

# show COMMAND: print the command, run it, print what it says and keep that in $output. A failure ends the demo.
show() {
	local status=0
	printf '%s$ %s%s\n' "$bold" "$1" "$plain"
	output="$(bash -o pipefail -c "$1" 2>&1)" || status=$?
	[ -z "$output" ] || printf '%s\n' "$output"
	[ "$status" = 0 ] || fail "exit status $status of: $1"
}

# expect PATTERN WHAT: the command shown last said it. reject: it did not.
expect() {
	grep -qiE -- "$1" <<<"$output" || fail "$2: this is not to be seen above: $1"
	ok "$2"
}
reject() {
	! grep -qiE -- "$1" <<<"$output" || fail "$2: this is to be seen above: $1"
	ok "$2"
}

# until_true WHAT COMMAND...: wait a few seconds at most.
until_true() {
	local what="$1" i
	shift
	for ((i = 0; i < 100; i++)); do
		if "$@"; then return 0; fi
		sleep 0.05
	done
	fail "$what"
}

maps=/sys/fs/bpf/flyover/v4/maps

show_up() {
	heading "The tutorial's network from one command"
	show 'flyover up | tail -n 4'
	show 'flyover up'
	expect 'nothing to do' 'up is idempotent'
	show 'ip netns list; ip -br address show br1; ip -n ns1 -br -4 address; ip -n ns1 route'
	expect '^br1 .*192\.168\.15\.10/24' 'the bridge has the gateway address'
	expect '^veth-ns1.*192\.168\.15\.1/24' 'ns1 has its address'
	expect 'default via 192\.168\.15\.10 dev veth-ns1' 'ns1 has its default route'
}

show_pings() {
	heading 'Pings: between the namespaces, to the gateway, to the outside'
	local from to
	for path in ns1:192.168.15.2 ns2:192.168.15.1 ns1:192.168.15.10 ns2:192.168.15.10 ns1:203.0.113.1; do
		from="${path%%:*}" to="${path#*:}"
		show "ip netns exec $from ping -q -c 3 -i 0.2 -W 2 $to | grep received"
		expect '3 received, 0% packet loss' "$from reaches $to"
	done
}

show_arp() {
	heading 'ARP: answered by the datapath, never seen by a neighbour'
	local mac capture="$work/arp"
	mac="$(ip -n ns2 -br link show veth-ns2 | awk '{print $3}')"
	say 'While this goes on, tcpdump looks at what arrives in ns2:'
	printf '%s$ ip netns exec ns2 tcpdump -l -n -Q in -i veth-ns2 arp or icmp &%s\n' "$bold" "$plain"
	# Its output goes packet by packet to the file, and the capture does not wait for a buffer to fill.
	ip netns exec ns2 tcpdump -l -n --immediate-mode -Q in -i veth-ns2 arp or icmp >"$capture" 2>"$capture.err" &
	local tcpdump=$!
	until_true 'tcpdump does not start' grep -q 'listening on' "$capture.err"
	show 'ip netns exec ns1 arping -c 2 -I veth-ns1 192.168.15.2'
	expect "$mac" "ns1 is told ns2's MAC, $mac"
	show 'ip netns exec ns1 arping -c 2 -I veth-ns1 192.168.15.10 | grep -i from'
	expect "$(cat /sys/class/net/br1/address)" "and the gateway's"
	show 'ip -n ns1 neigh flush dev veth-ns1; ip netns exec ns1 ping -q -c 1 -W 2 192.168.15.2 | grep received'
	until_true 'tcpdump does not see the ping' grep -q 'ICMP echo request' "$capture"
	kill -INT "$tcpdump"
	wait "$tcpdump" || true
	say 'What tcpdump saw:'
	show "cat $capture"
	expect 'ICMP echo request' 'the ping arrived in ns2'
	reject 'ARP, Request' 'and no ARP request did'
}

# transfer NAMESPACE PORT: a file over TCP to the outside, and whom the outside takes it to be from.
transfer() {
	local seen="$work/seen.$1" received="$work/received.$1"
	printf '%s$ ip netns exec outside nc -v -n -l %s >received &%s\n' "$bold" "$2" "$plain"
	ip netns exec outside timeout 10 nc -v -n -l "$2" >"$received" 2>"$seen" </dev/null &
	local listener=$!
	until_true 'nc does not listen' listening "$2"
	show "ip netns exec $1 timeout 10 bash -c 'cat $work/sent >/dev/tcp/203.0.113.1/$2'"
	wait "$listener" || fail "nc in the outside: $(cat "$seen")"
	output="$(grep -i received "$seen")" || fail "nc in the outside: $(cat "$seen")"
	say "$output"
	expect '203\.0\.113\.2' "the outside sees the host's address as source"
	reject '192\.168\.15\.' 'and no inside address'
	cmp -s "$work/sent" "$received" || fail "what $1 sent and what arrived differ"
	ok "$(stat -c %s "$received") bytes arrived as they were sent"
}

listening() { ip netns exec outside ss -Hltn "sport = :$1" | grep -q LISTEN; }

show_masquerade() {
	heading 'Masquerade: TCP from both namespaces to the outside'
	head -c 4000000 /dev/urandom >"$work/sent"
	transfer ns1 8081
	transfer ns2 8082
}

show_traceroute() {
	heading 'Traceroute: the gateway is a hop, as a router is'
	show 'ip netns exec ns1 traceroute -n -q 1 -w 2 -m 4 203.0.113.1'
	expect '^ *1 +192\.168\.15\.10 ' 'the first hop is 192.168.15.10'
	expect '^ *2 +203\.0\.113\.1 ' 'the second is the outside'
}

show_maps() {
	heading 'State: pinned maps with named fields'
	show "bpftool map dump pinned $maps/fo_endpoints"
	expect '"addr4": \[192,168,15,2' 'the endpoints are in the map'
	show "bpftool map dump pinned $maps/fo_sessions4 | sed -n 1,24p"
	expect '"inside": \[192,168,15,' 'sessions of inside addresses'
	expect '"outside": \[203,0,113,2' "and the host's address that stands for them"
	expect '"state": "SESSION_' 'and their state, by name'
}

show_counters() {
	heading 'Counters: which path the packets took'
	show 'flyover status'
	local reason
	for reason in \
		'from_endpoint +FORWARD_ENDPOINT:namespace to namespace, past the bridge' \
		'from_endpoint +ANSWER_ARP:ARP, answered in place' \
		'from_endpoint +FORWARD_OUTSIDE:translated, out' \
		'from_uplink +FORWARD_INSIDE:translated back, in' \
		'from_endpoint +PASS_HOST:to the gateway itself, for the host' \
		'from_endpoint +PASS_TTL:traceroute, for the host to answer'; do
		expect "^${reason%%:*} +[1-9]" "${reason#*:}"
	done
	reject '^not as' 'the host is as declared'
}

show_down() {
	heading 'Down: only what flyover made goes'
	show 'flyover down | tail -n 3'
	show 'ip -br link; ip netns list; ls -A /sys/fs/bpf'
	reject 'br1|veth|ns1|ns2|flyover' 'nothing of flyover is left; eth0 and outside are the lab itself'
}

in_lab() {
	show_up
	show_pings
	show_arp
	show_masquerade
	show_traceroute
	show_maps
	show_counters
	show_down
}

# What the machine itself looks like. Not the loaded modules: the kernel loads what a lab asks for and keeps it.
machine() {
	ip -br link
	ip route
	ip netns list
	find /run/netns /run/flyover /sys/fs/bpf 2>/dev/null || true
}

show_bench() {
	heading "Side by side with datapath: kernel - a taste, not a benchmark"
	say 'More rounds, longer ones and an idle machine make figures: bin/bench -rounds 15'
	show "bin/bench -flyover $FLYOVER -tests udp,udp-out -window 200ms"
	expect '^  ebpf again +[1-9]' 'measured, each variant in a lab of its own'
}

show_nothing_left() {
	heading 'Nothing is left behind'
	show 'ip -br link; ip netns list; ls -A /sys/fs/bpf'
	local after
	after="$(machine)"
	[ "$after" = "$before" ] || fail "the machine is not as before:
$(diff <(echo "$before") <(echo "$after") || true)"
	ok 'links, routes, namespaces and pinned objects of this machine are as before'
}

if [ "${1-}" = --in-lab ]; then
	PATH="$(dirname "$FLYOVER"):$PATH"
	in_lab
	touch "$work/shown"
	exit 0
fi

[ -x "${FLYOVER-}" ] || fail 'FLYOVER is not the path of a binary: run `make demo`'
export FLYOVER
work="$(mktemp -d)"
export work
trap 'rm -rf "$work"' EXIT
before="$(machine)"
CGO_ENABLED=0 go build -buildvcs=false -o bin/bench ./test/bench
SECONDS=0
say 'A lab is a throw-away host in private namespaces: the machine you sit at is not touched.'
printf '%s$ flyover lab run --bare -- test/demo.sh%s\n' "$bold" "$plain"
"$FLYOVER" lab run --bare -- test/demo.sh --in-lab || exit 1
[ -e "$work/shown" ] || fail "$FLYOVER has not run the demo in a lab"
show_bench
show_nothing_left
printf '\n%sAll shown and checked in %d s.%s\n' "$green" "$SECONDS" "$plain"
