#!/usr/bin/env bash
# How many aarch64 instructions one inference executes, under three emulated CPUs: arm-count.sh MODEL.onnx [IMAGE.f32]
#   cortex-a72  no dot products      cortex-a76  dot products      max  and matrix multiplication
# Counts are no times: runtime/docs/arm.md says what they can tell. `make test-arm` installs what this needs, and
# `python3 runtime/benches/peers.py --models resnet50` makes the model of the figures there.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: $0 MODEL.onnx [IMAGE.f32]" >&2; exit 2; }
for file in "$@"; do [ -r "$file" ] || { echo "error: cannot read $file" >&2; exit 1; }; done

bash .ci/arm-setup.sh >&2
source .ci/arm-env.sh
/usr/bin/cargo build --quiet "${whole[@]}" -p engine --example alternate
program="$CARGO_TARGET_DIR/aarch64-unknown-linux-gnu/debug/examples/alternate"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
gcc -O2 -fPIC -shared -o "$work/libicount.so" .ci/icount.c

model=$1
shift
for cpu in cortex-a72 cortex-a76 max; do
  # Loading is left out: what one run more takes, of a program that loads, warms up and runs once or twice.
  for runs in 1 2; do
    echo "$runs" | qemu-aarch64 -cpu "$cpu" -plugin "$work/libicount.so,out=$work/$runs" "$program" "$model" 1 "$@" > "$work/said"
  done
  isa=$(sed -n '1s/.*, //p' "$work/said")
  .ci/icount-less.sh "$cpu $isa" "$work/1" "$work/2"
  rm "$work/1" "$work/2"
done
