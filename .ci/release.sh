#!/usr/bin/env bash
# One folder that can be given to hospitals: packages, SBOMs, manuals, what changed, checksums, a signature.
#   release.sh KEY     KEY: a private ed25519 key of `ssh-keygen -t ed25519 -f KEY`; anything else is refused
# Signed by OpenSSH, because every machine that installs a package can check that without a program of ours.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { echo "release: $*" >&2; exit 1; }

[ $# = 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
key=$(realpath "$1")
[ -r "$key" ] || die "cannot read the key $key"
# The type of a key: ssh-keygen -l ends with it.
[[ "$(ssh-keygen -l -f "$key")" == *"(ED25519)" ]] || die "$key is no ed25519 key of ssh-keygen"
[ -z "$(git status --porcelain --untracked-files=no)" ] || die "the tree has changes that are not committed"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
packages=target/packages out="target/release-$version"
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"

# The part of the changelog that is about this version; before it has a heading, what is not released yet.
changes() {
  local heading="## $version"
  grep -qxF "$heading" .github/CHANGELOG.md || heading='## Unreleased'
  grep -qxF "$heading" .github/CHANGELOG.md || die "the changelog has neither ## $version nor ## Unreleased"
  echo "# cxr-edge $version, $(git rev-parse --short=12 HEAD)"
  awk -v heading="$heading" '$0 == heading { on = 1; next } /^## / { on = 0 } on' .github/CHANGELOG.md
}

bash .ci/packages.sh ${BINARIES:+--binaries "$BINARIES"}
rm -rf "$out"
mkdir -p "$out"
for arch in amd64 arm64; do
  for name in runtime host agent; do
    deb="$packages/cxr-edge-${name}_${version}_$arch.deb"
    [ -f "$deb" ] || die "no $deb"
    cp "$deb" "$out/"
    [ $name = agent ] && continue
    dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/share/doc/cxr-edge-$name/sbom.cdx.json" \
      > "$out/cxr-edge-${name}_${version}_$arch.cdx.json"
  done
done
changes > "$out/changes.md"
# The pages and completions of all four programs: exporter and trainer are in no package.
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go-w \
  -C "$packages/made" -cf - man completion | gzip -9n > "$out/manuals-$version.tar.gz"
(cd "$out" && sha256sum -- * > SHA256SUMS && ssh-keygen -q -Y sign -f "$key" -n cxr-edge-release SHA256SUMS)

# As whoever gets it will.
(
  cd "$out"
  sha256sum --quiet --check SHA256SUMS
  echo "release $(ssh-keygen -y -f "$key")" > ../allowed
  ssh-keygen -Y verify -f ../allowed -I release -n cxr-edge-release -s SHA256SUMS.sig < SHA256SUMS
  rm ../allowed
)
echo "release: $out"
