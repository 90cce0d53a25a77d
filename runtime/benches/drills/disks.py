"""Drills on disk and clock."""

import contextlib
import os
import subprocess
import time

from . import wire
from .faults import EIO, Faults
from .peers import destination, free_port
from .rows import ALL, OURS, row
from .wire import Association

GROUP = "Disk and clock"
NO_ANSWERS = "it answers nothing"
#: So that the disk itself is what refuses.
TO_THE_BRIM = "min_free_bytes = 0\nmax_disk_share = 1.0"


@contextlib.contextmanager
def small_disk(peer, megabytes: int):
    """Mounts a disk in memory where the peer keeps things; in a mount namespace of our own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", peer.kept], check=True)
    try:
        yield
    finally:
        peer.stop()
        subprocess.run(["umount", "-l", peer.kept], check=True)


def needs_root() -> str | None:
    return None if os.geteuid() == 0 else "— (run as root: it mounts a small disk)"


@row(GROUP, "the disk fills up while objects arrive")
def full_while_receiving(lab, name):
    if why := needs_root():
        return why
    # Without a bundle nothing is answered, and what has no answer is never purged.
    peer = lab.make(name, spool=TO_THE_BRIM, bundle=False) if name == OURS else lab.make(name)
    kept, answer = [], "0000"
    with small_disk(peer, 8), lab.running(peer):
        while answer == "0000" and len(kept) < 100:
            instance = wire.uid()
            answer = Association(peer).store(instance, wire.dataset(instance, side=632))
            kept += [instance] if answer == "0000" else []
        held = sum(peer.holds(instance) == 1 for instance in kept)
        halves = peer.holds(instance)
        served = "" if wire.serves(peer) else "; **out of service**"
    left = "; **part of the refused one left**" if halves and answer != "0000" else ""
    return f"{answer} to the object after {len(kept)}; {held} of {len(kept)} kept{left}{served}"


def answers_around(lab, peer, failing, environment=None) -> str:
    """Forty images wait; as soon as the daemon works on them, the disk fails for a while."""
    peer.has_bundle = False
    with lab.running(peer):
        association, instances = Association(peer), [wire.uid() for _ in range(40)]
        accepted = [association.store(instance, wire.dataset(instance, side=632)) for instance in instances].count("0000")
    peer.has_bundle = True
    with lab.running(peer, environment=environment):
        with failing:
            before = queue_of(peer)
            health = health_while_it_fails(peer)
        deadline = time.monotonic() + 60
        while queue_of(peer) and time.monotonic() < deadline:
            time.sleep(0.2)
        images = peer.get("/images")["images"]
    parked = sum(bool((image.get("result") or {}).get("parked")) for image in images)
    analysed = sum((image.get("result") or {}).get("status") == "analysed" for image in images)
    return f"{before} of {accepted} wait: health {health}; then {analysed} answered, {parked} parked"


def health_while_it_fails(peer) -> str:
    """When it says so, and what else it says in the five seconds after that. A busy machine may take a while to the first answer
    that is refused, and an answer may fit into what another one has left free."""
    began, said = time.monotonic(), ""
    while said != "failing":
        if time.monotonic() - began > 30:
            return f"`{said}` for 30 s"
        time.sleep(0.05)
        said = peer.get("/health")["status"]
    after = time.monotonic() - began
    others = set()
    while time.monotonic() - began < after + 5:
        time.sleep(0.05)
        others.add(peer.get("/health")["status"])
    also = "".join(f", also `{other}`" for other in sorted(others - {said}))
    return f"`{said}` after {after:.1f} s{also}"


def queue_of(peer) -> int:
    queue = peer.get("/health")["queue"]
    return queue["waiting"] + queue["running"]


@row(GROUP, "the disk is full while images are answered", (OURS,), NO_ANSWERS)
def full_while_answering(lab, name):
    if why := needs_root():
        return why
    # Nothing listens there, and what is not delivered may not be purged to make room.
    peer = lab.make(name, spool=TO_THE_BRIM, tables=destination(free_port()))
    filler = peer.kept / "filler"

    @contextlib.contextmanager
    def failing():
        with open(filler, "wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
        yield
        filler.unlink()

    with small_disk(peer, 48):
        return answers_around(lab, peer, failing())


def with_faults(lab, peer) -> Faults:
    return Faults(lab.faults, peer.folder / "block", peer.kept)


@row(GROUP, "EIO from every write and fsync while objects arrive")
def error_while_receiving(lab, name):
    peer = lab.make(name)
    faults = with_faults(lab, peer)
    with lab.running(peer, environment=faults.environment()):
        answers = []
        for error in (0, EIO, 0):
            faults.set("error", error)
            instance = wire.uid()
            answers.append(Association(peer).store(instance, wire.dataset(instance)))
            if not faults.writes():
                return "— (its writes go past the shim)"
        return "before, meanwhile, after: " + " ".join(answers) + ("" if wire.serves(peer) else "; **out of service**")


@row(GROUP, "EIO while images are answered", (OURS,), NO_ANSWERS)
def error_while_answering(lab, name):
    peer = lab.make(name)
    faults = with_faults(lab, peer)

    @contextlib.contextmanager
    def failing():
        faults.set("error", EIO)
        yield
        faults.set("error", 0)

    return answers_around(lab, peer, failing(), faults.environment())


@row(GROUP, "the clock jumps a day back, then two ahead: an open association, a store", ALL)
def clock_jumps(lab, name):
    peer = lab.make(name)
    faults = with_faults(lab, peer)
    with lab.running(peer, environment=faults.environment()):
        answers = []
        for seconds in (-86400, 86400):
            association, instance = Association(peer), wire.uid()
            faults.set("clock_s", seconds)
            time.sleep(1.5)
            answers += [association.echo(), Association(peer).store(instance, wire.dataset(instance))]
            if name == OURS:
                answers.append("answered" if answered(peer, instance) else "**not answered**")
        return " ".join(answers)


def answered(peer, instance: str, patience: float = 20) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if (peer.get(f"/images/{instance}") or {}).get("status") == "analysed":
            return True
        time.sleep(0.1)
    return False
