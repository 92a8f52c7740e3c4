#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# lint.sh - the rules of this repository that no ready-made linter knows.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0

# complain RULE OFFENDERS: report the offenders of a rule, one a line, if there are any.
complain() {
	if [ -n "$2" ]; then
		printf 'lint: %s:\n%s\n' "$1" "$(sed 's/^/  /' <<<"$2")" >&2
		failed=1
	fi
}

# without_line PATTERN FILE...: the files that do not have the pattern near their top.
without_line() {
	local pattern="$1" file
	shift
	for file in "$@"; do
		head -n 3 "$file" | grep -qF "$pattern" || echo "$file"
	done
}

check_licences() {
	mapfile -t apache < <(test/sources.sh go; test/sources.sh script)
	mapfile -t dual < <(test/sources.sh c; test/sources.sh header)
	complain "no Apache-2.0 SPDX line" "$(without_line 'SPDX-License-Identifier: Apache-2.0' "${apache[@]}")"
	complain "no SPDX line of the eBPF sources" \
		"$(without_line 'SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause' "${dual[@]}")"
}

# Every header compiles as the only one included, for either address family or for the one that is its own: no hidden order of includes.
check_headers() {
	local header families family
	for header in bpf/lib/*.h; do
		[ -e "$header" ] || continue
		case "${header##*/}" in
		arp.h | ip4.h) families=4 ;;
		nd.h | ip6.h) families=6 ;;
		*) families="4 6" ;;
		esac
		for family in $families; do
			echo "#include \"$header\"" | "$CLANG" -x c - -target bpf -mcpu=v3 -O2 -g -fsyntax-only -Wall -Wextra -Werror \
				-Wno-sign-compare -Wno-unused-function "-DFAMILY=$family" -I. "-I/usr/include/$(uname -m)-linux-gnu" ||
				complain "header does not compile alone for IPv$family" "$header"
		done
	done
}

# Variants of the datapath are chosen by constants that the verifier prunes, so that all of them are always compiled: the only
# conditional of the preprocessor is a header's include guard, or asks which address family it is compiled for.
check_conditionals() {
	mapfile -t sources < <(test/sources.sh c; test/sources.sh header)
	[ ${#sources[@]} -gt 0 ] || return 0
	complain "conditional compilation" "$(awk '
		FNR == 1 { seen = 0 }
		/^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else)([^a-z]|$)/ {
			if (FILENAME ~ /\.h$/ && !seen && $0 ~ /^#ifndef [A-Z0-9_]*_H_*$/) { seen = 1; next }
			if ($0 ~ /^#if FAMILY == [46]$/) { family = 1; next }
			if ($0 == "#else" && family) { family = 0; next }
			print FILENAME ":" FNR ": " $0
		}' "${sources[@]}")"
}

# The product talks to the kernel by netlink and bpf(2) only. Tests, and the lab, may run programs.
check_programs() {
	local offenders
	offenders="$(test/sources.sh go | grep -v -e '^test/' -e '_test\.go$' |
		xargs -r grep -nE '"os/exec"|syscall\.(Exec|ForkExec)\b|os\.StartProcess\b' || true)"
	complain "runs another program" "$offenders"
}

# cmd -> control -> loader -> bpf, never back; nothing shipped imports tests, except cmd the lab.
check_imports() {
	local offenders
	offenders="$(go list -e -f '{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}{{"\n"}}{{end}}' ./... | awk '
		function layer(path) { split(path, part, "/"); return part[2] }
		BEGIN { rank["bpf"] = 1; rank["loader"] = 2; rank["control"] = 3; rank["cmd"] = 4 }
		$2 !~ /^flyover\// || layer($1) == "test" { next }
		layer($1) == "cmd" && $2 == "flyover/test/lab" { next }
		!(layer($2) in rank) || rank[layer($2)] > rank[layer($1)] { print $1 " imports " $2 }')"
	complain "import against cmd -> control -> loader -> bpf" "$offenders"
}

CLANG="${CLANG:-clang-19}"
check_licences
check_headers
check_conditionals
check_programs
check_imports
exit "$failed"
