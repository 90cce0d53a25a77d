#!/usr/bin/env bash
# What a model of the pipeline says of our inner loops: arm-mca.sh [CPU…]
# Takes each loop out of the aarch64 build of `kernels` and gives it to LLVM's llvm-mca (Debian: llvm-19, or LLVM_MCA=PROGRAM).
# runtime/docs/arm.md says which processors LLVM has a model of its own for, and what no model of a pipeline can say.
set -euo pipefail
cd "$(dirname "$0")/.."
mca=${LLVM_MCA:-llvm-mca-19}
command -v "$mca" >/dev/null || { echo "error: $mca is not installed: apt-get install llvm-19" >&2; exit 1; }
[ $# -gt 0 ] || set -- cortex-a55 cortex-a72 cortex-a76 cortex-a78 neoverse-n1 neoverse-v1

bash .ci/arm-setup.sh >&2
source .ci/arm-env.sh
/usr/bin/cargo build --quiet "${whole[@]}" -p kernels
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
aarch64-linux-gnu-objdump --disassemble --demangle --no-show-raw-insn \
  "$CARGO_TARGET_DIR/aarch64-unknown-linux-gnu/debug/libkernels.rlib" > "$work/kernels.s"
python3 runtime/benches/inner_loops.py "$work/kernels.s" --mca "$mca" --cpus "$@"
