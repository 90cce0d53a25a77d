#!/usr/bin/env bash
# Builds for aarch64 once and runs the tests under three emulated CPUs:
#   cortex-a72  no dot products (Raspberry Pi 4)      cortex-a76  dot products (Raspberry Pi 5, Jetson Orin)
#   max         and matrix multiplication (newer cores)
# Arguments go to `cargo test`; without any, the int8 kernels are tested, phrases, and whole models for the bits they have
# on x86-64.
set -euo pipefail
cd "$(dirname "$0")/.."
source .ci/arm-env.sh
export TEST_RUNNER=qemu-aarch64             # for tests that start our own programs
export KERNELS_CASES="${KERNELS_CASES:-80}" # an emulator is 20 times slower

# On each CPU, `cargo test` with these arguments. EXPECT_ISA makes a run fail that took another path than this CPU's.
everywhere() {
  local test=(/usr/bin/cargo test --quiet "$@") cpu
  "${test[@]}" --no-run
  for cpu in cortex-a72=neon,scalar cortex-a76=dotprod,neon,scalar max=i8mm,dotprod,neon,scalar; do
    echo "== ARM tests on ${cpu%%=*}: ${cpu##*=}"
    QEMU_CPU=${cpu%%=*} EXPECT_ISA=${cpu##*=} timeout 1800 "${test[@]}"
  done
}

if [ $# -gt 0 ]; then
  everywhere "${target[@]}" --lib --bins --tests "$@"
else
  everywhere "${target[@]}" --lib --bins --tests -p kernels
  everywhere "${target[@]}" --tests -p language
  everywhere "${whole[@]}" -p engine --test models
fi
