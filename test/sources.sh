#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# sources.sh go|c|header|script - list the files of this kind that people write, so without generated ones.
set -euo pipefail
cd "$(dirname "$0")/.."

# Not git ls-files: a file counts from when it is written, and root may not be allowed to ask git.
files() {
	find . \( -name .git -o -path ./bin -o -name testdata \) -prune -o -type f "$@" -print | sed 's,^\./,,' | sort
}

case "${1-}" in
go) files -name '*.go' ! -name '*_bpfel.go' ! -name '*_bpfeb.go' ;;
c) files -name '*.c' ;;
header) files -name '*.h' ;;
script)
	files -name '*.sh'
	echo Makefile
	echo .ci/run
	;;
*)
	echo "usage: sources.sh go|c|header|script" >&2
	exit 2
	;;
esac
