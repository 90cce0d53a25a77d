#!/usr/bin/env bash
# How many aarch64 instructions some convolutions of a ResNet execute, by `kernels` alone: arm-layers.sh CPU NETWORK [LAYER]
#   CXR_ISA=neon .ci/arm-layers.sh cortex-a76 resnet18 "layer1 3x3 64-64"      by another instruction set than that CPU's best
# NETWORK is resnet50 or resnet18; LAYER is in the names of runtime/kernels/benches/resnet50.rs. Random weights, one thread.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n 2,4p "$0" >&2; exit 2; }
cpu=$1 network=$2
export LAYER=${3:-}

bash .ci/arm-setup.sh >&2
source .ci/arm-env.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
gcc -O2 -fPIC -shared -o "$work/libicount.so" .ci/icount.c
# Packing is left out: what one round more takes.
for rounds in 1 2; do
  ROUNDS=$rounds QEMU_CPU=$cpu QEMU_PLUGIN="$work/libicount.so,out=$work/$rounds" \
    /usr/bin/cargo bench --quiet --profile dev "${whole[@]}" -p kernels --bench resnet50 -- "$network" > "$work/said"
done
isa=$(sed -n '1s/ .*//p' "$work/said")
.ci/icount-less.sh "$cpu $isa $network $LAYER" "$work/1" "$work/2"
