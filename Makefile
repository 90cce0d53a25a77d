# Two commands do everything; both install what they need (see .ci/setup.sh).
#   make demo                     from nothing to findings on real radiographs
#   make demo DATA=DIR            the same, trained on real radiographs in the cxr-mini layout
#   make test                     everything CI checks
#   make test-arm                 the int8 kernels on aarch64 under emulation (Debian, as root; not part of CI)

#   make drills                   broken rules, disks and clocks: the table of runtime/docs/drills.md, ten minutes, as root
#   make fuzz [FUZZ_SECONDS=600]  hostile ONNX, bundles, pictures and headers for that long each, from a seed of its own
#   make memcheck                 the kernels under valgrind (x86-64: scalar and AVX2): no byte read or written out of bounds
#   make miri                     the kernels' scalar and packing code under Miri (rustup, nightly)
#   make sanitize                 the parsers, the engine and the kernels under the address sanitizer (rustup, nightly)

#   make packages                 Debian packages of what ships, amd64 and arm64: runtime/docs/install.md
#   make test-packages            installs, upgrades, downgrades and purges them in throw-away roots (Debian, as root)
#   make release KEY=FILE         packages, SBOMs, manuals, changes, checksums, signed by a key of ssh-keygen

.PHONY: packages test-packages release demo test test-arm drills fuzz memcheck miri sanitize lint unit docs build setup judges

CARGO := cargo
# cargo-nextest where it is installed (one process a test); elsewhere the same tests by `cargo test`, one at a time,
# because libtorch has one random generator a process.
# Tests with `gpu` in their name need a CUDA card: `cargo test --workspace gpu`.
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

demo: setup
	$(CARGO) build --workspace --bins
	target/debug/demo --out out $(if $(DATA),--data $(DATA))

test: judges lint unit docs

test-arm:
	bash .ci/arm-setup.sh
	bash .ci/arm-test.sh

# dicom-rs's receiver is built for this alone.
drills: judges
	$(CARGO) build -p runtime
	$(CARGO) install --quiet --debug --locked --root target/dicom-rs dicom-storescp@0.10.1
	.venv/bin/python runtime/benches/drills.py

# The case being tried when a run dies lies in target/tmp/fuzz-case; the seed is printed. The first line takes that long for each
# of its four tests; the others try as many cases as one processor of ours does in that time.
FUZZ_SECONDS ?= 600
FUZZ_SEED ?= $(shell date +%s)
fuzz:
	@echo "FUZZ_SEED=$(FUZZ_SEED)"
	FUZZ_SEED=$(FUZZ_SEED) FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test -p engine --test fuzz -- --test-threads 1
	FUZZ_SEED=$(FUZZ_SEED) FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test -p exporter --lib foreign::tests::noise
	FUZZ_SEED=$(FUZZ_SEED) FUZZ_CASES=$$((15000 * $(FUZZ_SECONDS))) $(CARGO) test -p radiograph --test it noise -- --test-threads 1
	PROPTEST_CASES=$$((8000 * $(FUZZ_SECONDS))) $(CARGO) test -p firmware-host --lib noise
	PROPTEST_CASES=$$((15000 * $(FUZZ_SECONDS))) $(CARGO) test -p protocol -p bundle -- --test-threads 1
	PROPTEST_CASES=$$((40 * $(FUZZ_SECONDS))) $(CARGO) test -p exposures
	PROPTEST_CASES=$$((600 * $(FUZZ_SECONDS))) $(CARGO) test -p runtime --bins -- dicom::scu::tests dicom::scu::retrieve --test-threads 1
	PROPTEST_CASES=$$((5000 * $(FUZZ_SECONDS))) $(CARGO) test -p runtime --bins panics -- --skip scu::tests --skip scu::retrieve --test-threads 1
	PROPTEST_CASES=$$((7500 * $(FUZZ_SECONDS))) $(CARGO) test -p results --test it hostile

# Miri interprets: a few cases of everything take minutes, and 600,000 roundings would take an hour.
# Valgrind has no AVX-512, so that set is left to the address sanitizer.
memcheck:
	KERNELS_CASES=24 RUSTFLAGS='--cfg separate_buffers' CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='valgrind --quiet --error-exitcode=1' \
		$(CARGO) test --release -p kernels --lib --tests -- --test-threads 1

miri:
	KERNELS_CASES=4 MIRIFLAGS=-Zmiri-env-forward=KERNELS_CASES $(CARGO) +nightly miri test -p kernels --lib --tests -- --skip rounding_is_exact

# The standard library stays as it is; our crates and their dependencies are built with checks around every access.
SANITIZE := CARGO_TARGET_DIR=target/sanitize RUSTFLAGS='-Zsanitizer=address --cfg separate_buffers' RUSTDOCFLAGS=-Zsanitizer=address
sanitize:
	$(SANITIZE) $(CARGO) +nightly test --target x86_64-unknown-linux-gnu --lib --tests -p kernels -p engine -p bundle -p radiograph -p protocol

# ARCHS=amd64 makes one of the two; BINARIES=FOLDER packs FOLDER/ARCH/{runtime,firmware-host} instead of building them.
ARCHS ?= amd64 arm64
BINARIES ?=
packages: build
	bash .ci/packages.sh $(if $(BINARIES),--binaries $(BINARIES)) $(ARCHS)

# Packed again, the same binaries give the same bytes.
test-packages: packages
	cd target/packages && sha256sum *.deb > first
	bash .ci/packages.sh --binaries $(or $(BINARIES),target/packages/bin) $(ARCHS)
	cd target/packages && sha256sum --quiet --check first && rm first
	bash .ci/setup.sh roots peers python
	bash .ci/packages-test.sh target/packages $(ARCHS)

release: build
	BINARIES=$(BINARIES) bash .ci/release.sh $(or $(KEY),$(error KEY=FILE names no private key: ssh-keygen -t ed25519 -f FILE))

setup:
	@bash .ci/setup.sh peers libtorch python

# What only the tests need: archives, validators, a browser.
judges: setup
	@bash .ci/setup.sh judges browser embedded

build: setup
	$(CARGO) build --workspace --bins

# cargo-deny of the user, or the one that setup.sh builds.
DENY := $(shell command -v cargo-deny 2>/dev/null || echo "$${CXR_CACHE:-$$HOME/.cache/cxr-edge}/tools/bin/cargo-deny")

lint:
	@bash .ci/setup.sh deny
	$(DENY) --locked --config .config/deny.toml check licenses bans sources
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

# The binaries first: tests/ starts all four.
unit: build judges
ifneq ($(NEXTEST),)
	$(CARGO) nextest run --workspace
else
	$(CARGO) test --workspace --lib --bins --tests -- --skip gpu --test-threads 1
endif

docs:
	$(CARGO) test --workspace --doc --quiet
