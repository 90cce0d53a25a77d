#!/usr/bin/env bash
# How many aarch64 instructions an inference takes ONNX Runtime, LiteRT and ncnn, beside arm-count.sh: arm-peers.sh MODEL.onnx [CPU…]
# Their aarch64 wheels, Debian's arm64 Python and our worker of `peers.py` run under qemu-user, one thread, in target/arm-peers.
# ENGINES=onnxruntime leaves the others out: their files are made of networks of convolutions alone.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
[ -r "$1" ] || { echo "error: cannot read $1" >&2; exit 1; }
model=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- cortex-a72 cortex-a76 max,sve=off

bash .ci/arm-setup.sh >&2
work=$PWD/target/arm-peers root=$PWD/target/arm-peers/root
wheels=(numpy==2.4.6 onnxruntime==1.32.0 ai-edge-litert==2.3.0 ncnn==1.0.20261020)
python=(libpython3.11-minimal libpython3.11-stdlib python3.11-minimal libc6 libcrypt1 libexpat1 libffi8 libgcc-s1 libssl3 libstdc++6 zlib1g)
if [ "$(cat "$work/from" 2>/dev/null)" != "${wheels[*]}" ]; then
  rm -rf "$work"
  mkdir -p "$root/site" "$work/wheels" "$work/debs"
  (cd "$work/debs" && apt-get download -qq "${python[@]/%/:arm64}")
  for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$root"; done
  platforms=(--platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64)
  python3 -m pip download -q --no-deps --only-binary=:all: "${platforms[@]}" --python-version 3.11 --implementation cp \
    -d "$work/wheels" "${wheels[@]}"
  for wheel in "$work"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$root/site"; done
  # Makes the TFLite file, on this machine.
  python3 -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q "${wheels[2]}" onnx==1.23.2
  echo "${wheels[*]}" > "$work/from"
fi
gcc -O2 -fPIC -shared -o "$work/libicount.so" .ci/icount.c
cp runtime/benches/engines/worker.py "$root/site/"
engines=(${ENGINES:-onnxruntime litert ncnn})
case "${engines[*]}" in *litert*) "$work/venv/bin/python" runtime/benches/engines/litert_model.py "$model" "$work/model.tflite" ;; esac
case "${engines[*]}" in *ncnn*) "$work/venv/bin/python" runtime/benches/engines/ncnn_model.py "$model" "$work/model.param" ;; esac
"$work/venv/bin/python" -c 'import sys; import numpy as np, onnx
shape = [side.dim_value or 1 for side in onnx.load(sys.argv[1]).graph.input[0].type.tensor_type.shape.dim]
np.random.default_rng(7).standard_normal(shape).astype(np.float32).tofile(sys.argv[2])' "$model" "$work/image.f32"

# Both read what processor this is from /proc/cpuinfo, and x86's makes ONNX Runtime crash. It must fit the emulated one:
# cortex-a72, cortex-a76, or a Neoverse V1 for `max`.
processor() {
  local part features='fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid'
  case "$1" in
    cortex-a72) part=0xd08 ;;
    cortex-a76) part=0xd0b features+=' atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp' ;;
    max*) part=0xd40 features+=' atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp asimdfhm jscvt fcma i8mm bf16 dgh rng' ;;
    *) echo "error: $1 is no processor of this script: cortex-a72, cortex-a76, max,sve=off" >&2; exit 2 ;;
  esac
  mkdir -p "$root/proc" "$root/sys/devices/system/cpu"
  for file in possible present online; do echo 0 > "$root/sys/devices/system/cpu/$file"; done
  printf 'processor\t: 0\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: %s\nCPU revision\t: 1\n\n' \
    "$features" $part > "$root/proc/cpuinfo"
}

# Loading is left out: what one run more takes, of a process that loads, warms up and runs once or twice.
for cpu in "$@"; do
  processor "$cpu"
  for engine in "${engines[@]}"; do
    case $engine in litert) file="$work/model.tflite" ;; ncnn) file="$work/model.param" ;; *) file=$model ;; esac
    rm -f "$work/1" "$work/2"
    for runs in 1 2; do
      echo $runs | qemu-aarch64 -cpu "$cpu" -L "$root" -E PYTHONHOME=/usr -E PYTHONPATH=/site -E OPENBLAS_NUM_THREADS=1 \
        -plugin "$work/libicount.so,out=$work/$runs" "$root/usr/bin/python3.11" "$root/site/worker.py" $engine "$file" 1 "$work/image.f32" \
        > "$work/said" 2>&1 || { tail -5 "$work/said" >&2; exit 1; }
    done
    .ci/icount-less.sh "$cpu $engine" "$work/1" "$work/2"
  done
done
