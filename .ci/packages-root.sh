# A throw-away root for packages-test.sh: `source .ci/packages-root.sh`. It uses $arch, $work, $packages, $this, sets $root
# and $leader, and gives commands that mean the same with systemd (amd64) and without (arm64).

# A root of Debian 12; the archive of a fresh one is kept in the tools cache.
make_root() {
  local kept="${CXR_CACHE:-$HOME/.cache/cxr-edge}/roots/bookworm-$arch.tar"
  if [ ! -s "$kept" ]; then
    step "fetching Debian 12"
    [ "$arch" = amd64 ] || register_qemu
    mkdir -p "$(dirname "$kept")"
    # Without systemd there are its two relatives, as in a container.
    local with=systemd-standalone-sysusers,systemd-standalone-tmpfiles
    [ "$arch" != amd64 ] || with=systemd,systemd-sysv,dbus
    mmdebstrap --quiet --variant=minbase --arch="$arch" --include=$with bookworm "$kept.part.tar"
    mv "$kept.part.tar" "$kept"
  fi
  root="$work/$arch"
  mkdir -p "$root"
  tar -C "$root" -xpf "$kept"
  mkdir -p "$root/packages"
  local name deb
  for name in runtime host agent; do
    deb="$packages/cxr-edge-${name}_${this}_$arch.deb"
    cp "$deb" "$root/packages/"
    dpkg-deb -R "$deb" "$work/later"
    sed -i 's/^Version: .*/Version: 99.0.0/' "$work/later/DEBIAN/control"
    dpkg-deb --root-owner-group -Zgzip -z1 -b "$work/later" "$root/packages/cxr-edge-${name}_99.0.0_$arch.deb" >/dev/null
    rm -r "$work/later"
  done
}

# Runs a command in the root; runs one of this machine in the root's network.
inside() { nsenter -t "$leader" -m -p -n -u -i -r -w env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"; }
network() { nsenter -t "$leader" -n "$@"; }
boots() { [ "$arch" = amd64 ] && [ -z "${WITHOUT_SYSTEMD:-}" ]; }

start_root() {
  [ "$arch" = amd64 ] || register_qemu
  local first='exec chroot . /bin/sleep infinity'
  # A systemd that believes in a container: it looks for no devices and no kernel of its own.
  ! boots || first='exec env -i PATH=/usr/sbin:/usr/bin container=cxr-packages chroot . /lib/systemd/systemd --log-target=console'
  unshare --mount --pid --fork --uts --ipc --net --cgroup --kill-child sh -c '
    set -e
    cd "$1"
    mount --make-rprivate /
    mount --bind . .
    mount --make-rshared . # as systemd does at a real start: services see what is mounted later
    cd "$1"
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=755 tmpfs dev
    for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    [ "$3" = no ] || mount -t cgroup2 cgroup2 sys/fs/cgroup
    ip link set lo up
    eval "$2"
  ' - "$root" "$first" "$(boots && echo boots || echo no)" >"$work/console.log" 2>&1 &
  local parent=$!
  eventually pgrep -P $parent
  leader=$(pgrep -P $parent)
  if boots; then eventually inside systemctl is-system-running --wait; else eventually inside true; fi
}

stop_root() {
  [ -n "$leader" ] || return 0
  kill -KILL "$leader" 2>/dev/null || true
  wait 2>/dev/null || true
  leader=''
  [ -z "${registered:-}" ] || echo -1 > /proc/sys/fs/binfmt_misc/cxr-qemu
  registered=''
}

# The kernel opens the emulator now (F), so the root need not have it.
register_qemu() {
  [ ! -e /proc/sys/fs/binfmt_misc/cxr-qemu ] || return 0
  [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
  local magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  local mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  registered=yes
  printf '%s' ":cxr-qemu:M::$magic:$mask:$(command -v qemu-aarch64-static):F" > /proc/sys/fs/binfmt_misc/register
}

# What systemd does by itself on amd64, by hand on arm64: as the user, the group and in the order of the units.
by_hand() { inside setpriv --reuid "$1" --regid "$1" --groups "$(inside id -G "$1" | tr ' ' ,)" -- "${@:2}" >>"$work/$1.log" 2>&1 & }
start_services() {
  boots && return
  by_hand cxr-runtime runtime serve --config /etc/cxr-edge/runtime.toml
  ! ls "$root"/etc/cxr-edge/keys/*.pub >/dev/null 2>&1 || by_hand cxr-agent firmware-host agent --config /etc/cxr-edge/agent.toml
}
stop_services() {
  boots && return
  inside sh -c 'for p in /proc/[0-9]*; do case "$(tr "\0" " " < $p/cmdline)" in *runtime\ serve*|*firmware-host\ agent*) kill ${p#/proc/};; esac; done' || true
  sleep 2
}
# The daemon alone.
stop_daemon() { if boots; then inside systemctl stop cxr-runtime; else stop_services; fi; }
start_daemon() { if boots; then inside systemctl start cxr-runtime; else start_services; fi; }
restart_services() {
  if boots; then inside systemctl restart cxr-runtime cxr-agent; else stop_services; start_services; fi
}
service_process() { if boots; then inside systemctl show -P MainPID cxr-runtime; fi; }
# After an upgrade: systemd has started the new daemon by itself.
after_change() {
  if boots; then
    [ "$(service_process)" != "$1" ] || die "the daemon was not started anew"
    inside systemctl is-active --quiet cxr-runtime cxr-agent || die "a service does not run"
  else
    restart_services
  fi
}

# systemd starts a daemon that hangs anew, and a sandbox that works is the unit's.
watched() {
  boots || return 0
  step "a daemon that hangs is started anew"
  inside sh -c 'mkdir -p /run/systemd/system/cxr-runtime.service.d /run/systemd/system/cxr-agent.service.d
    for unit in runtime agent; do printf "[Service]\nWatchdogSec=4\n" > /run/systemd/system/cxr-$unit.service.d/test.conf; done
    systemctl daemon-reload; systemctl restart cxr-runtime cxr-agent'
  local unit process
  for unit in cxr-runtime cxr-agent; do
    process=$(inside systemctl show -P MainPID $unit)
    inside sh -c "kill -STOP $process"
    eventually inside sh -c "[ \$(systemctl show -P NRestarts $unit) = 1 ] && systemctl is-active --quiet $unit"
  done
  step "what root left among the daemon's files is the daemon's again"
  inside touch /var/lib/cxr-edge/users/by-root /var/lib/cxr-edge/keys/by-root
  inside sh -c 'rm -r /run/systemd/system/cxr-*.service.d; systemctl daemon-reload; systemctl restart cxr-runtime cxr-agent'
  eventually is ok
  [ "$(inside stat -c %U /var/lib/cxr-edge/users/by-root /var/lib/cxr-edge/keys/by-root | xargs)" = "cxr-runtime cxr-agent" ] ||
    die "root's files stay root's"
}

# The unit for USB sticks, on a loop device; $1 must stand in the report. The bundle runs already.
stick() {
  boots || return 0
  step "a bundle from a stick, and a report on it"
  local image="$work/stick.img" loop
  mkdir "$work/stick"
  inside firmware-host --quiet swu make /tmp/chest-lungs.bundle --out /tmp/chest.swu
  cp "$root/tmp/chest.swu" "$work/stick/"
  truncate -s 32M "$image"
  mkfs.ext4 -q -d "$work/stick" "$image"
  loop=$(losetup --show -f "$image")
  inside mknod "/dev/${loop##*/}" b $((0x$(stat -c %t "$loop"))) $((0x$(stat -c %T "$loop")))
  # Nobody tells this systemd of devices.
  sed '/dev-%i.device/d; s/block-sd/block-loop/' 'firmware-host/packaging/cxr-offline@.service' \
    > "$root/tmp/cxr-offline@.service"
  inside sh -c 'cp /tmp/cxr-offline@.service /run/systemd/system/ && systemctl daemon-reload'
  inside systemctl start "cxr-offline@${loop##*/}" 2>/dev/null || true
  losetup -d "$loop"
  inside rm -f "/dev/${loop##*/}" '/run/systemd/system/cxr-offline@.service'
  mkdir "$work/mounted"
  mount -o loop,ro "$image" "$work/mounted"
  cp "$work"/mounted/chest.swu.*.report.json "$work/report.json" || die "no report on the stick"
  umount "$work/mounted"
  grep -q "$1" "$work/report.json" || die "$(head -c 1000 "$work/report.json")"
  rm -r "$work/stick" "$image" "$work/mounted"
}
