#!/usr/bin/env bash
# How many aarch64 instructions one whole `runtime analyze` executes, and whose they are: arm-analyze.sh BUNDLE IMAGE [CPU…]
# From the start of the process to its end: bundle, signature, image, network. Counts are no times: runtime/docs/arm.md
# says what they can tell.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { echo "usage: $0 BUNDLE IMAGE [CPU…]" >&2; exit 2; }
for file in "$1" "$2"; do [ -r "$file" ] || { echo "error: cannot read $file" >&2; exit 1; }; done
bundle=$1 image=$2
shift 2

bash .ci/arm-setup.sh >&2
source .ci/arm-env.sh
# As in a release but for the optimisation across crates, which would hide whose they are.
/usr/bin/cargo build --quiet "${target[@]}" --config profile.dev.debug-assertions=false \
  --config profile.dev.overflow-checks=false --config profile.dev.package.runtime.opt-level=1 -p runtime
[ $# -gt 0 ] || set -- cortex-a72 cortex-a76
for cpu in "$@"; do
  python3 runtime/benches/instructions.py --emulator qemu-aarch64 --cpu "$cpu" \
    "$CARGO_TARGET_DIR/aarch64-unknown-linux-gnu/debug/runtime" analyze "$image" --bundle "$bundle" --json
done
