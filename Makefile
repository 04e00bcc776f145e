# The three commands of the README, and what they share.

TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
RELEASE := target/$(TARGET)/release/gantry
DEBUG := target/$(TARGET)/debug/gantry
# A temporary directory on the same disk: overlayfs and fsync behave there as they will in use.
export TMPDIR ?= /var/tmp

.PHONY: help build up demo test bench install

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

build: ## Build the release binary
	@scripts/packages build
	cargo build --release --package gantry

up: build ## Build, then run Gantry in the foreground
	exec $(RELEASE) up

demo: build ## Do the main job from nothing, and show it
	@scripts/packages demo
	examples/guestbook/demo $(RELEASE)

test: ## Run everything: unit, privileged and end-to-end tests, and the demo
	@scripts/packages build test demo
	cargo xtask test
	examples/guestbook/demo $(DEBUG)

bench: build ## Measure against the peers, side by side
	@scripts/packages bench
	cargo build --release --package benches
	benches/run $(RELEASE)

install: build ## Install the binary and its systemd unit (PREFIX=/usr/local, DESTDIR=)
	@PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/install $(RELEASE)
