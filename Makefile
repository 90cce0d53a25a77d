# Two commands do everything; both install what they need (see .ci/setup.sh).
#   make demo                     from nothing to findings on real radiographs
#   make demo DATA=DIR            the same, trained on real radiographs in the cxr-mini layout
#   make test                     everything CI checks
#   make test-arm                 the int8 kernels on aarch64 under emulation (Debian, as root; not part of CI)

.PHONY: demo test test-arm lint unit docs build setup

CARGO := cargo
# cargo-nextest where it is installed (one process a test); elsewhere the same tests by `cargo test`, one at a time,
# because libtorch has one random generator a process.
# Tests with `gpu` in their name need a CUDA card: `cargo test --workspace gpu`.
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

demo: setup
	$(CARGO) build --workspace --bins
	target/debug/demo --out out $(if $(DATA),--data $(DATA))

test: setup lint unit docs

test-arm:
	bash .ci/arm-setup.sh
	bash .ci/arm-test.sh

setup:
	@bash .ci/setup.sh peers libtorch python

build: setup
	$(CARGO) build --workspace --bins

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

# The binaries first: tests/ starts all four.
unit: build
ifneq ($(NEXTEST),)
	$(CARGO) nextest run --workspace
else
	$(CARGO) test --workspace --lib --bins --tests -- --skip gpu --test-threads 1
endif

docs:
	$(CARGO) test --workspace --doc --quiet
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
