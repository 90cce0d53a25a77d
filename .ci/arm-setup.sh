#!/usr/bin/env bash
# The aarch64 toolchain and emulator, on a Debian 12 x86-64 machine: idempotent, root, only Debian's archive.
#
# Debian's rustc-web is used because it comes with an aarch64 standard library as a package; rustup's compiler cannot read it.
set -euo pipefail

packages=(rustc-web cargo-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)
installed() { dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

missing=()
for p in "${packages[@]}"; do installed "$p" || missing+=("$p"); done
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "error: ARM tests need these Debian packages, and root with apt-get to install them: ${missing[*]}" >&2
    exit 1
  fi
  dpkg --print-foreign-architectures | grep -qx arm64 || dpkg --add-architecture arm64
  apt=(apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  "${apt[@]}" update
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" -y --no-install-recommends install "${missing[@]}" >/dev/null
fi

# A program that starts a thread. With ld.so and libc of two builds it would hang rather than fail, so there is a limit.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/probe.rs" <<'RUST'
fn main() {
    let arch = std::thread::spawn(|| std::env::consts::ARCH).join().unwrap();
    println!("{arch} dotprod={}", std::arch::is_aarch64_feature_detected!("dotprod"));
}
RUST
/usr/bin/rustc --edition 2024 -C linker=aarch64-linux-gnu-gcc --target aarch64-unknown-linux-gnu -o "$work/probe" "$work/probe.rs"
[ "$(timeout 20 qemu-aarch64 -cpu cortex-a72 "$work/probe")" = "aarch64 dotprod=false" ]
[ "$(timeout 20 qemu-aarch64 -cpu cortex-a76 "$work/probe")" = "aarch64 dotprod=true" ]
echo "arm: $(/usr/bin/rustc --version), $(qemu-aarch64 --version | head -1)"
