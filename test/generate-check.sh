#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# generate-check.sh - regenerate the objects and types in place and fail if that changes anything. It compares with what was
# there, not with a commit: on a clean checkout that is the same, and it also tells before a commit.
set -euo pipefail
cd "$(dirname "$0")/.."

before="$(mktemp -d)"
after="$(mktemp -d)"
trap 'rm -rf "$before" "$after"' EXIT

snapshot() {
	find bpf -name '*_bpfe[lb].*' -exec cp -t "$1" {} +
}

snapshot "$before"
go generate ./bpf
snapshot "$after"
if ! diff -r "$before" "$after"; then
	echo "generated files are not what the sources give: make generate, and commit the result" >&2
	exit 1
fi
