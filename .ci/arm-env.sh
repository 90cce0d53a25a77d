# What the ARM scripts share: `source .ci/arm-env.sh` from the root of the clone.
# Debian's compiler and nothing of rustup's: another version cannot read Debian's standard library.
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
export CARGO_TARGET_DIR="${ARM_TARGET_DIR:-$PWD/target/arm}" # of its own: two compilers in one folder rebuild each other
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# No -L: with libc6:arm64 installed, ld.so and libc would come from two builds, and starting a thread would hang.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64
unset LD_LIBRARY_PATH RUST_BACKTRACE # a backtrace adds instructions

target=(--target aarch64-unknown-linux-gnu)
# Whole networks: kernels and engine as in a release, what only reads the ONNX file as quickly built as can be.
whole=("${target[@]}" --config 'profile.dev.package."*".opt-level=0'
  --config profile.dev.debug-assertions=false --config profile.dev.overflow-checks=false)
