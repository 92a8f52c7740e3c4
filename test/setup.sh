#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# setup.sh SET... - install the Debian packages that a set of make targets needs, and only those that are missing.
# Sets: generate (the eBPF compiler and formatter), test (what tests and demo look at the network with).
set -euo pipefail

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# What is looked for, a command or a file, and the package that has it.
needs() {
	case "$1" in
	generate)
		cat <<-END
			clang-19                          clang-19
			clang-format-19                   clang-format-19
			llvm-strip-19                     llvm-19
			/usr/include/bpf/bpf_helpers.h    libbpf-dev
			/usr/include/linux/bpf.h          linux-libc-dev
		END
		;;
	kernels)
		cat <<-END
			qemu-system-x86_64                qemu-system-x86
			busybox                           busybox-static
			cpio                              cpio
			xz                                xz-utils
		END
		;;
	test)
		cat <<-END
			ip            iproute2
			tcpdump       tcpdump
			traceroute    traceroute
			ping          iputils-ping
			arping        iputils-arping
			iperf3        iperf3
			nft           nftables
			iptables      iptables
			ethtool       ethtool
			bpftool       bpftool
			nc.openbsd    netcat-openbsd
			strace        strace
			findmnt       util-linux
			jq            jq
			conntrack     conntrack
			ps            procps
			mount         mount
		END
		;;
	*)
		echo "usage: setup.sh generate|test|kernels..." >&2
		exit 2
		;;
	esac
}

present() {
	case "$1" in
	/*) [ -e "$1" ] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing=() packages=()
for set in "$@"; do
	list="$(needs "$set")"
	while read -r need package; do
		if ! present "$need"; then
			missing+=("$need")
			packages+=("$package")
		fi
	done <<<"$list"
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "setup: these are missing; install them with this system's package manager:" >&2
	for i in "${!missing[@]}"; do
		printf '  %-34s (Debian package %s)\n' "${missing[i]}" "${packages[i]}" >&2
	done
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "setup: missing Debian packages, for root to install: apt-get install --no-install-recommends ${packages[*]}" >&2
	exit 1
fi

echo "setup: installing ${packages[*]}"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1 </dev/null; then
	cat "$log" >&2
	echo "setup: could not install ${packages[*]}" >&2
	exit 1
fi
