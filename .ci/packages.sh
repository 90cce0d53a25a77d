#!/usr/bin/env bash
# Debian packages of what ships, into target/packages.   usage: .ci/packages.sh [--binaries FOLDER] [--version V] [ARCH …]
#   ARCH               amd64, arm64; without any: both
#   --binaries FOLDER  packs FOLDER/ARCH/{runtime,firmware-host} instead of building them
#   --version V        of the packages; without: the workspace's
# Man pages and completions come from the four binaries in target/debug, which `make packages` builds first.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { echo "packages: $*" >&2; exit 1; }

binaries='' version='' archs=()
while [ $# -gt 0 ]; do
  case "$1" in
    --binaries) binaries=$(realpath "$2"); shift 2 ;;
    --version) version=$2; shift 2 ;;
    amd64 | arm64) archs+=("$1"); shift ;;
    *) sed -n 2,6p "$0" >&2; exit 2 ;;
  esac
done
[ ${#archs[@]} -gt 0 ] || archs=(amd64 arm64)
version=${version:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)}

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export PATH="${CXR_CACHE:-$HOME/.cache/cxr-edge}/tools/bin:$PATH"
out=$PWD/target/packages made=$PWD/target/packages/made
declare -A triple=([amd64]=x86_64-unknown-linux-gnu [arm64]=aarch64-unknown-linux-gnu)

# What the tools say of themselves, and a changelog in Debian's form.
manuals() {
  local tool shell
  for tool in runtime firmware-host exporter trainer; do
    [ -x "target/debug/$tool" ] || die "no target/debug/$tool: make build"
    "target/debug/$tool" --quiet manual "$made/man/$tool" >/dev/null
    mkdir -p "$made/completion"
    for shell in bash zsh fish; do
      "target/debug/$tool" completion $shell > "$made/completion/$tool.$shell"
    done
  done
  cat > "$made/changelog" <<TEXT
cxr-edge ($version) stable; urgency=medium

  * What changed stands in .github/CHANGELOG.md of the sources, and in changes.md beside the packages.

 -- The cxr-edge authors <cxr-edge@localhost>  $(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')
TEXT
}

# What goes into each binary. From a copy of the sources, because the tool writes beside them; without its path.
sbom() {
  local copy="$out/source" name
  rm -rf "$copy"
  mkdir -p "$copy" "$made/sbom"
  git ls-files -z -- '*.toml' '*.rs' Cargo.lock | xargs -0 cp --parents -t "$copy"
  (cd "$copy" && cargo cyclonedx -q --manifest-path runtime/Cargo.toml --format json --spec-version 1.5 \
    --describe binaries --no-build-deps --target "${triple[$1]}")
  for name in runtime firmware-host; do
    sed "s|path+file://$copy/|path+file:///|; s|file://$copy/|file:///|" "$copy/$name/${name}_bin.cdx.json" \
      > "$made/sbom/$name.cdx.json"
    ! grep -q "$copy" "$made/sbom/$name.cdx.json" || die "the SBOM of $name names a folder of this machine"
  done
  rm -rf "$copy"
}

# With zig's linker and libc of 2.31, so that JetPack 5 can load it; with a list of its crates inside (cargo-audit).
# Paths of this machine are no part of it.
compile() {
  local target=${triple[$1]} sysroot
  sysroot=$(rustc --print sysroot)
  local remap="--remap-path-prefix=$PWD=/cxr-edge --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
  RUSTFLAGS="$remap --remap-path-prefix=$sysroot=/rust" CFLAGS="-ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo -g0" \
    PATH="$PWD/.venv/packaging/bin:$PATH" CARGO_ZIGBUILD_PYTHON_PATH="$PWD/.venv/packaging/bin/python" \
    cargo auditable zigbuild --locked --profile dist --target "$target.2.31" -p runtime -p firmware-host
  mkdir -p "$out/bin/$1"
  cp "${CARGO_TARGET_DIR:-target}/$target/dist/runtime" "${CARGO_TARGET_DIR:-target}/$target/dist/firmware-host" "$out/bin/$1/"
}

# No newer libc than JetPack 5's, and not much larger than measured (install.md). CXR_TEST_BINARIES=1 packs others, for a test.
check() {
  local limit name file newest wrong
  for limit in runtime=28 firmware-host=8; do
    name=${limit%=*} file="$2/$1/${limit%=*}" wrong=''
    [ -f "$file" ] || die "no $file"
    newest=$(objdump -T "$file" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
    echo "packages: $1 $name: $(stat -c %s "$file") bytes, $newest"
    [ "$(printf '%s\n' GLIBC_2.31 "$newest" | sort -V | tail -1)" = GLIBC_2.31 ] ||
      wrong="$file needs $newest, JetPack 5 has GLIBC_2.31"
    [ "$(stat -c %s "$file")" -le $((${limit#*=} * 1000000)) ] ||
      wrong="$file has $(stat -c %s "$file") bytes, expected at most ${limit#*=} MB"
    [ -z "$wrong" ] || [ "${CXR_TEST_BINARIES:-}" = 1 ] || die "$wrong"
  done
}

# The three packages of one architecture. The tool takes binaries from a target folder, so it gets one of its own.
pack() {
  local target=${triple[$1]} stage="$out/stage" variant
  mkdir -p "$stage/$target/dist"
  cp "$2/$1/runtime" "$2/$1/firmware-host" "$stage/$target/dist/"
  for variant in runtime firmware-host 'firmware-host --variant agent'; do
    # shellcheck disable=SC2086
    CARGO_TARGET_DIR="$stage" cargo deb -q --locked --no-build --no-strip --profile dist --target "$target" \
      --deb-version "$version" --output "$out/" -p $variant
  done
  rm -rf "$stage"
}

bash .ci/setup.sh packaging
rm -rf "$made"
mkdir -p "$out" "$made"
manuals
for arch in "${archs[@]}"; do
  from=${binaries:-$out/bin}
  [ -n "$binaries" ] || compile "$arch"
  check "$arch" "$from"
  sbom "$arch"
  pack "$arch" "$from"
done
ls -l "$out"/*_"$version"_*.deb
