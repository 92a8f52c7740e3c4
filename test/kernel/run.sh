#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [VERSION_REGEX] - boot one of Debian's kernels in QEMU, without KVM and without a network, and check in it that
# flyover's datapath loads and works: the newest linux-image-VERSION-amd64 that apt offers and whose VERSION matches.
#   test/kernel/run.sh '6\.1\.'     test/kernel/run.sh '6\.12\.'
# FLYOVER names the binary, by default bin/flyover. KERNEL_VERBOSE=1 shows the whole console. The init of the machine is ./init.
# Nothing is installed: kernels are unpacked below ~/.cache/flyover-kernels. Needs qemu-system-x86 and busybox-static.
set -euo pipefail
cd "$(dirname "$0")"

pattern="${1:-6\.1\.}"
flyover="$(realpath "${FLYOVER:-../../bin/flyover}")"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/flyover-kernels"

# The modules that the tutorial's network wants; a host would load them on demand.
modules=(crc32c_generic veth bridge sch_ingress cls_bpf nf_tables nf_conntrack nf_nat nft_chain_nat nft_masq nft_ct)

die() {
	echo "kernel: $*" >&2
	exit 2
}

[ -x "$flyover" ] || die "$flyover is not there: make build"
for command in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio xz:xz-utils; do
	command -v "${command%%:*}" >/dev/null || die "${command%%:*} is missing: apt-get install --no-install-recommends ${command#*:}"
done
! readelf -l "$(command -v busybox)" 2>/dev/null | grep -q INTERP || die 'busybox is not static: apt-get install busybox-static'

offered="$(apt-cache pkgnames linux-image- | grep -E '^linux-image-[0-9.]+.*[0-9]-amd64$|^linux-image-[0-9.]+\+deb[0-9]+-amd64$' |
	grep -E "^linux-image-($pattern)" | sort -V)" || die "apt offers no kernel of version $pattern"
package="${offered##*$'\n'}"
version="${package#linux-image-}"
dir="$cache/$version"

# unpack: vmlinuz and the modules of networking, and what tells which module needs which.
unpack() {
	local work
	work="$(mktemp -d "$cache/unpack.XXXXXX")"
	chmod 755 "$work"
	echo "kernel: getting $package"
	(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package")
	mkdir "$work/root"
	dpkg --fsys-tarfile "$work"/*.deb | tar -x -C "$work/root" --wildcards './boot/vmlinuz-*' './lib/modules/*/modules.*' \
		'./lib/modules/*/kernel/net/*' './lib/modules/*/kernel/lib/*' './lib/modules/*/kernel/crypto/*' \
		'./lib/modules/*/kernel/arch/x86/crypto/*' './lib/modules/*/kernel/drivers/net/veth.ko*'
	find "$work/root/lib" -name '*.ko.xz' -exec xz -d {} +
	busybox depmod -b "$work/root" "$version"
	rm -rf "$dir"
	mv "$work/root" "$dir"
	rm -rf "$work"
}

# needed: the modules' files and those of what they need, as paths below lib/modules/VERSION.
needed() {
	awk -v wanted="${modules[*]}" '
		function take(file, i, n, parts) {
			if (file in taken) return
			taken[file] = 1
			print file
			n = split(needs[file], parts, " ")
			for (i = 1; i <= n; i++) take(parts[i])
		}
		{
			file = $1; sub(":$", "", file); name = file; sub(".*/", "", name); sub("[.]ko$", "", name)
			path[name] = file; $1 = ""; needs[file] = $0
		}
		END { n = split(wanted, w, " "); for (i = 1; i <= n; i++) if (w[i] in path) take(path[w[i]]) }
	' "$dir/lib/modules/$version/modules.dep"
}

# initramfs FILE: busybox, flyover, the modules and ./init.
initramfs() {
	local root="$work/root" libs="lib/modules/$version" file
	mkdir -p "$root"/{bin,sbin,proc,sys,dev,run,tmp,root,etc,"$libs"}
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp "$flyover" "$root/bin/flyover"
	install -m 755 init "$root/init"
	echo "${modules[*]}" >"$root/etc/modules"
	while read -r file; do
		install -D -m 644 "$dir/$libs/$file" "$root/$libs/$file"
	done < <(needed)
	cp "$dir/$libs"/modules.builtin* "$root/$libs/"
	busybox depmod -b "$root" "$version"
	(cd "$root" && find . | cpio --quiet -o -H newc) >"$1"
}

mkdir -p "$cache"
[ -e "$dir/boot/vmlinuz-$version" ] || unpack
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
initramfs "$work/initramfs"

echo "kernel: booting $version"
SECONDS=0
console() { if [ -n "${KERNEL_VERBOSE-}" ]; then cat; else grep -E --line-buffered '^(PASS|FAIL|   )' || true; fi; }
timeout -k 5 "${KERNEL_TIMEOUT:-300}" qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1024 -nic none -display none -no-reboot \
	-serial stdio -monitor none -kernel "$dir/boot/vmlinuz-$version" -initrd "$work/initramfs" \
	-append 'console=ttyS0 quiet loglevel=4 panic=-1 rdinit=/init' </dev/null 2>&1 | tr -d '\r' | tee "$work/console" | console || true

# No verdict means that the machine crashed, hung or ran out of time: show the console's end.
if ! grep -q '^VERDICT ' "$work/console"; then
	tail -n 40 "$work/console" >&2
	echo "FAIL $version: no verdict" >&2
	exit 1
fi
grep '^VERDICT ' "$work/console" | sed "s/^VERDICT/kernel $version, $SECONDS s:/"
grep -q '^VERDICT all passed' "$work/console"
