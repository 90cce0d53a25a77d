#!/usr/bin/env bash
# The kernels' property tests on x86 instruction sets this machine lacks: under Bochs, which emulates whole PCs with
# AVX-512. A static test program is the only thing in the initial file system of a Debian kernel, booted from a CD image.
# Debian 12, x86-64, root for installing. One to ten minutes a processor model; nothing of it is a timing.
#   .ci/x86-isa.sh [MODEL=INSTRUCTION,SETS ...]
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- tigerlake=avx512vnni,avx2,scalar corei7_haswell_4770=avx2,scalar
cases="${KERNELS_CASES:-12}"   # an emulator is some hundred times slower
limit="${X86_ISA_LIMIT:-1500}" # seconds a model

packages=(bochs bochsbios vgabios bochs-term busybox-static cpio isolinux syslinux-common xorriso)
missing=()
for p in "${packages[@]}"; do dpkg-query -W -f='${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing+=("$p"); done
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "error: these tests need Debian packages, and root with apt-get to install them: ${missing[*]}" >&2
    exit 1
  fi
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
fi

target="${X86_ISA_TARGET_DIR:-$PWD/target/x86-isa}"
work="$target/work"
mkdir -p "$work"

# Debian's smallest kernel: unpacked, not installed.
if [ ! -e "$work/vmlinuz" ]; then
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
  (cd "$work" && apt-get -qq download "$package" 2>/dev/null && dpkg-deb -x "$package"_*.deb kernel)
  cp "$work"/kernel/boot/vmlinuz-* "$work/vmlinuz"
  rm -r "$work"/kernel "$work"/linux-image-*.deb
fi

# Static: there is no libc in the emulated machine. Release: it is slow enough.
export CARGO_TARGET_DIR="$target" RUSTFLAGS="-C target-feature=+crt-static"
built=$(cargo test --quiet --release -p kernels --target x86_64-unknown-linux-gnu --lib --test conv --test ops --no-run --message-format=json |
  python3 -c 'import json, sys; [print(m["executable"]) for m in map(json.loads, sys.stdin) if m.get("executable")]')

image() { # EXPECTED: a CD with the test programs and an init that runs them
  local root="$work/root" iso="$work/iso"
  rm -rf "$root" "$iso"
  mkdir -p "$root"/{bin,proc,sys,dev,tests} "$iso/isolinux"
  cp /bin/busybox "$root/bin/busybox"
  for program in $built; do
    local name
    name=$(basename "$program")
    strip -o "$root/tests/${name%-*}" "$program"
  done
  cat > "$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
export RUST_BACKTRACE=0 KERNELS_CASES=$cases EXPECT_ISA=$1
result=passed
for test in /tests/*; do
  echo "-- \$test"
  \$test --test-threads 1 || result=failed
done
echo "x86-isa: \$result"
/bin/busybox poweroff -f
INIT
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$iso/initrd"
  cp "$work/vmlinuz" "$iso/vmlinuz"
  cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$iso/isolinux/"
  printf 'default l\nlabel l\n kernel /vmlinuz\n append initrd=/initrd console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable lpj=1000000\n' > "$iso/isolinux/isolinux.cfg"
  xorriso -as mkisofs -quiet -o "$work/cd.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$iso" 2>/dev/null
}

emulate() { # MODEL
  : > "$work/serial"
  cat > "$work/bochsrc" <<RC
config_interface: textconfig
display_library: term
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
megs: 512
cpu: model=$1, count=1, ips=100000000, reset_on_triple_fault=0
ata0-master: type=cdrom, path="$work/cd.iso", status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev="$work/serial"
clock: sync=none
speaker: enabled=0
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
RC
  echo c > "$work/commands" # Debian's Bochs stops in its debugger first: continue
  # Its screen needs a terminal; `script` gives it one. It may or may not end when the machine powers off, so we end it.
  setsid script -qec "bochs -q -f $work/bochsrc -rc $work/commands" /dev/null < /dev/null > /dev/null 2>&1 &
  local emulator=$! end=$((SECONDS + limit))
  while kill -0 $emulator 2>/dev/null && [ $SECONDS -lt $end ] && ! grep -aq '^x86-isa: \|Kernel panic' "$work/serial"; do sleep 2; done
  kill -- -$emulator 2>/dev/null || true
}

for one in "$@"; do
  echo "== kernels on ${one%%=*}: ${one##*=}"
  image "${one##*=}"
  emulate "${one%%=*}"
  tr -d '\r' < "$work/serial" | grep -a '^-- \|^test \|panicked\|x86-isa' || true
  if ! tr -d '\r' < "$work/serial" | grep -aqx 'x86-isa: passed'; then
    echo "error: no pass on ${one%%=*}; what the machine said is in $work/serial, Bochs in $work/bochs.log" >&2
    exit 1
  fi
done
