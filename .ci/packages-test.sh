#!/usr/bin/env bash
# Installs, upgrades, refuses to downgrade and purges our packages in a throw-away root of Debian 12, on Debian as root.
#   .ci/packages-test.sh FOLDER [ARCH …]    FOLDER: packages of this version; a copy of them is called 99.0.0
# amd64 boots a systemd of its own: units, sandbox, watchdog and users are the real ones. arm64 runs under qemu in a
# chroot without systemd, as amd64 does with WITHOUT_SYSTEMD=1: the services are started by hand, as the units' users.
# Both have a network of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n 2,6p "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "error: a throw-away root needs root" >&2; exit 1; }
packages=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- amd64 arm64

this=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
chest=$(ls .venv/lib/python3*/site-packages/data_store/data/RG1_UNCR.dcm)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/cxr-packages.XXXXXX")
arch='' root='' leader=''
source .ci/packages-root.sh
trap 'stop_root; rm -rf "$work"' EXIT

step() { echo "== $arch: $*"; }
die() {
  echo "error: $arch: $*" >&2
  inside journalctl -q -n 30 --no-pager -u 'cxr-*' >&2 2>/dev/null || cat "$work"/*.log >&2 2>/dev/null
  exit 1
}
# Until a command succeeds, a minute at most.
eventually() {
  local start=$SECONDS
  until "$@" >/dev/null 2>&1; do
    [ $((SECONDS - start)) -lt 60 ] || die "not within a minute: $*"
    sleep 0.5
  done
}

debs() { printf "/packages/cxr-edge-%s_$1_$arch.deb " runtime host agent; }
has_version() { [ "$(inside dpkg-query -W -f '${Version} ' cxr-edge-runtime cxr-edge-host cxr-edge-agent)" = "$1 $1 $1 " ]; }
health() { network curl -s --max-time 5 http://127.0.0.1:8080/health || true; }
is() { [[ "$(health)" == *"\"status\":\"$1\""* ]]; }
answers() { [ "$(network curl -fs http://127.0.0.1:8080/images | grep -o '"status":"analysed"' | wc -l)" = "$1" ]; }
send() { network storescu -aec CXR-EDGE 127.0.0.1 11112 "$chest"; }
host() { inside firmware-host --quiet "$@" --device tcp://127.0.0.1:7700; }
secret() { inside setpriv --reuid cxr-runtime --regid cxr-runtime --init-groups cat "/var/lib/cxr-edge/keys/$1"; }
# Every file, but what dpkg and systemd write down for themselves.
files() { (cd "$root" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/cache -o -path ./run \
  -o -path ./tmp -o -path ./var/tmp -o -path ./var/lib/systemd -o -path ./proc -o -path ./root -o -path ./dev -o -path ./sys \) -prune \
  -o -print | grep -vE '/(passwd|group|shadow|gshadow|subuid|subgid)-?$|/etc/\.pwd\.lock$|/var/lib/private' | sort); }

installed() {
  step "install $this"
  inside dpkg -i $(debs "$this") >"$work/dpkg.log" 2>&1 || die "dpkg: $(tail -3 "$work/dpkg.log")"
  start_services
  eventually is not-ready
  for name in runtime firmware-host; do [ "$(inside $name --version)" = "$name $this" ] || die "$name --version"; done
  inside setpriv --reuid cxr-runtime --regid cxr-runtime --init-groups runtime serve --check \
    --config /etc/cxr-edge/runtime.toml >/dev/null || die "the installed configuration has mistakes"
}

# From a key to a confirmed bundle, a test study and an answered image, all as the guides say.
worked() {
  step "a key, a bundle over the link, an image"
  cp runtime/examples/chest-lungs.pub "$root/etc/cxr-edge/keys/site.pub"
  inside runtime -q setup --yes --replace --no-test --key /etc/cxr-edge/keys/site.pub || die "runtime setup"
  printf '[trial]\nsoak = "1s"\n' >> "$root/etc/cxr-edge/agent.toml"
  restart_services
  eventually inside test -s /var/lib/cxr-edge/keys/enrol.toml
  local code
  code=$(sed -n 's/^code = "\(.*\)"/\1/p' "$root/var/lib/cxr-edge/keys/enrol.toml")
  cp runtime/examples/chest-lungs.bundle "$root/tmp/"
  inside firmware-host --quiet keygen || die keygen
  host enrol --code "$code" || die enrol
  host push /tmp/chest-lungs.bundle || die push
  host activate || die activate
  host confirm --wait 2m || die confirm
  eventually is ok
  stop_daemon
  inside setpriv --reuid cxr-runtime --regid cxr-runtime --init-groups runtime -q setup --yes --test-only || die "the test study"
  start_daemon
  eventually is ok
  send || die "the image was not taken"
  eventually answers 2
  secret admitted.toml >/dev/null || die "the daemon cannot enter the agent's folder"
  for file in box.key enrol.toml; do ! secret $file 2>/dev/null || die "the daemon reads $file"; done
}

upgraded() {
  step "upgrade to 99.0.0 over a running box"
  local before
  before=$(service_process)
  inside dpkg --force-confold -i $(debs 99.0.0) >"$work/dpkg.log" 2>&1 || die "dpkg: $(tail -3 "$work/dpkg.log")"
  after_change "$before"
  has_version 99.0.0 || die "not upgraded"
  eventually is ok
  eventually answers 2
  host slots | grep -qi confirmed || die "the slot is not confirmed any more: $(host slots)"
  grep -q '^trusted_keys' "$root/etc/cxr-edge/runtime.toml" || die "the configuration was lost"
}

refused() {
  step "downgrade is refused, or done where somebody insists"
  if inside dpkg -i $(debs "$this") >"$work/dpkg.log" 2>&1; then die "downgraded"; fi
  grep -q "99.0.0 was installed, and $this is older" "$work/dpkg.log" || die "$(tail -3 "$work/dpkg.log")"
  has_version 99.0.0 || die "half downgraded"
  eventually is ok
  local before
  before=$(service_process)
  inside env CXR_ALLOW_DOWNGRADE=1 dpkg --force-confold -i $(debs "$this") >"$work/dpkg.log" 2>&1 || die "$(cat "$work/dpkg.log")"
  after_change "$before"
  has_version "$this" || die "not downgraded"
  eventually answers 2
}

removed() {
  step "remove keeps state, purge leaves nothing"
  stop_services
  inside dpkg -r cxr-edge-agent cxr-edge-runtime cxr-edge-host >"$work/dpkg.log" 2>&1 || die "$(cat "$work/dpkg.log")"
  [ -z "$(health)" ] || die "a removed daemon answers"
  [ "$(ls "$root/var/lib/cxr-edge/spool/images" | wc -l)" -ge 1 ] || die "remove deleted images"
  inside dpkg -i $(debs "$this") >"$work/dpkg.log" 2>&1 || die "$(cat "$work/dpkg.log")"
  start_services
  eventually is ok
  eventually answers 2
  stop_services
  inside dpkg -P cxr-edge-agent cxr-edge-runtime cxr-edge-host >"$work/dpkg.log" 2>&1 || die "$(cat "$work/dpkg.log")"
  diff "$work/before" <(files) || die "purge leaves files"
  ! grep -E 'cxr' "$root/etc/passwd" "$root/etc/group" || die "purge leaves users"
}

for arch in "$@"; do
  make_root
  start_root
  files > "$work/before"
  installed
  worked
  watched
  stick '"outcome": "confirmed"'
  upgraded
  refused
  removed
  stop_root
done
echo "packages: installed, upgraded, not downgraded, purged: $*"
