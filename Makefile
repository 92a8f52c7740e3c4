# SPDX-License-Identifier: Apache-2.0
#
# `sudo make test` and `sudo make demo` do all their own set-up on Debian 12 with git, make and Go. The compiled datapath is
# committed, so only the targets that are about its sources need clang.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# sudo resets PATH, and the upstream tarball's place of Go is not in what it sets; Debian's sbin is not in a user's PATH.
export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

# The one clang, from Debian: other versions give other objects, and generate-check would fail.
CLANG        := clang-19
CLANG_FORMAT := clang-format-19

# No C compiler is asked for; `make test CGO_ENABLED=1 TESTFLAGS=-race` where there is one.
export CGO_ENABLED ?= 0

PREFIX  ?= /usr/local
DESTDIR ?=
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo devel)

GO_BUILD   := CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
C_SOURCES   = $(wildcard bpf/*.c bpf/lib/*.h)
COMPLETIONS := share/bash-completion/completions/flyover share/zsh/site-functions/_flyover \
	share/fish/vendor_completions.d/flyover.fish

# More for `go test`, as in `sudo make test TESTFLAGS='-run TestARP -v'`.
TESTFLAGS ?=
# More for the command of `make scale`, as in `sudo make scale SCALEFLAGS='-tests connections -connections 1000000'`.
SCALEFLAGS ?=
# What is tested.
PACKAGES ?= ./...

.PHONY: help build generate generate-check fmt fmt-check lint test test-kernels conformance mutants scale demo install clean need-go need-root setup-test setup-generate setup-kernels

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: need-go ## build bin/flyover, a static binary
	@mkdir -p bin
	$(GO_BUILD) -o bin/flyover ./cmd/flyover

generate: need-go setup-generate ## compile the eBPF sources and generate their Go types (clang-19)
	go generate ./bpf

generate-check: need-go setup-generate ## check that the committed objects and types are what the sources give
	@test/generate-check.sh

fmt: need-go setup-generate ## format Go and C
	gofmt -w $$(test/sources.sh go)
	$(if $(C_SOURCES),$(CLANG_FORMAT) -i $(C_SOURCES))

fmt-check: need-go setup-generate ## check the format of Go and C
	@unformatted="$$(gofmt -l $$(test/sources.sh go))"; \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi
	@$(if $(C_SOURCES),$(CLANG_FORMAT) --dry-run --Werror $(C_SOURCES))

lint: need-go setup-generate ## vet, staticcheck, headers, imports, licences
	go vet ./...
	go tool staticcheck ./...
	CLANG=$(CLANG) test/lint.sh

test: need-go need-root setup-test ## run every test: unit, PROG_RUN, end-to-end (as root, in labs)
	go test -count=1 -timeout 30m $(TESTFLAGS) $(PACKAGES)

test-kernels: setup-kernels build ## boot Debian's 6.1 and 6.12 kernels in QEMU and try the datapath there
	test/kernel/run.sh '6\.1\.'
	test/kernel/run.sh '6\.12\.'

conformance: need-go need-root setup-test ## check every row of docs/conformance.md for flyover and for Linux, and write it
	CONFORMANCE_UPDATE=1 go test -count=1 -timeout 15m $(TESTFLAGS) ./test/conformance

mutants: need-go need-root setup-generate setup-test ## put faults into the datapath one by one, and see the tests notice
	test/mutants.sh

scale: need-go need-root setup-test build ## fill, expire and flood tables of a million sessions, set up a thousand endpoints, and print figures (as root, in labs)
	CGO_ENABLED=0 go build -o bin/scale ./test/scale
	bin/scale $(SCALEFLAGS)

demo: need-root setup-test build ## show flyover at work in a throw-away host (as root)
	@FLYOVER=$(CURDIR)/bin/flyover test/demo.sh

install: build ## install the binary and shell completions below PREFIX
	install -D -m 755 bin/flyover $(DESTDIR)$(PREFIX)/bin/flyover
	@for file in $(COMPLETIONS); do \
		shell="$${file#share/}"; shell="$${shell%%[-/]*}"; \
		mkdir -p "$$(dirname $(DESTDIR)$(PREFIX)/$$file)"; \
		bin/flyover completion "$$shell" > $(DESTDIR)$(PREFIX)/$$file; \
	done

clean: ## remove what build made
	rm -rf bin

need-go:
	@command -v go >/dev/null || \
		{ echo "make: Go is neither in PATH nor in /usr/local/go/bin; install it as said in README.md" >&2; exit 1; }

need-root:
	@[ "$$(id -u)" = 0 ] || { echo "make: needs root, for network namespaces and eBPF: sudo make $(MAKECMDGOALS)" >&2; exit 1; }

setup-test:
	@test/setup.sh test

setup-kernels:
	@test/setup.sh kernels

setup-generate:
	@test/setup.sh generate
