"""Drills on deliveries: what the archive does wrong, and what becomes of an SR."""

import contextlib
import socket
import threading
import time

from . import wire
from .archive import CLOSE_AFTER, FORGET, HANG, Archive
from .disks import with_faults
from .peers import destination, free_port
from .rows import OURS, row
from .wire import Association

GROUP = "An archive that misbehaves"
WHY = "it delivers no results of its own"


def delivered(peer, states=("committed", "dead"), patience: float = 60) -> dict:
    """The one delivery, once it is in one of these states."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        rows = peer.queue("list", "--all")
        if rows and rows[0]["state"] in states:
            break
        time.sleep(0.1)
    return rows[0] if rows else {"state": "not there", "reason": None}


def outcome(lab, archive: Archive, port: int | None = None) -> str:
    """What becomes of the SR of an image; `port`: something stands before the archive."""
    archive.start()
    peer = lab.make(OURS, tables=destination(port or archive.port))
    try:
        with lab.running(peer):
            instance = wire.uid()
            Association(peer).store(instance, wire.dataset(instance))
            found = delivered(peer)
    finally:
        archive.stop()
    return said(archive, found)


def said(archive: Archive, found: dict) -> str:
    gaps = ", ".join(f"{later - earlier:.1f}" for earlier, later in zip(archive.came, archive.came[1:]))
    times = f"sent {len(archive.came)} times, pauses of {gaps} s" if gaps else f"sent {'once' if archive.came else 'never'}"
    reason = f" ({found['reason']})" if found["reason"] and found["state"] == "dead" else ""
    return f"{times}; {found['state']}{reason}; {len(archive.kept)} kept"


def acting(*acts) -> Archive:
    return Archive(free_port(), acts)


@row(GROUP, "none: it keeps and commits", (OURS,), WHY)
def nothing_wrong(lab, name):
    return outcome(lab, acting())


@row(GROUP, "says yes and forgets, then says so when asked to commit", (OURS,), WHY)
def forgets(lab, name):
    return outcome(lab, acting(FORGET))


@row(GROUP, "A700, three times", (OURS,), WHY)
def out_of_resources(lab, name):
    return outcome(lab, acting(*[0xA700] * 3))


@row(GROUP, "C000", (OURS,), WHY)
def cannot_understand(lab, name):
    return outcome(lab, acting(0xC000))


@row(GROUP, "B000 (a warning)", (OURS,), WHY)
def warning(lab, name):
    return outcome(lab, acting(0xB000))


@row(GROUP, "takes the object and never answers; timeout_seconds = 2", (OURS,), WHY)
def hangs(lab, name):
    return outcome(lab, acting(HANG))


@row(GROUP, "keeps the object and closes without an answer", (OURS,), WHY)
def closes(lab, name):
    return outcome(lab, acting(CLOSE_AFTER))


@row(GROUP, "has another AE title: rejects for good", (OURS,), WHY)
def another_title(lab, name):
    return outcome(lab, Archive(free_port(), title="ELSEWHERE"))


@row(GROUP, "has too many associations: rejects for now, then has room", (OURS,), WHY)
def too_many(lab, name):
    archive = Archive(free_port(), most=1).start()
    held = Association(archive)
    peer = lab.make(name, tables=destination(archive.port))
    try:
        with lab.running(peer):
            instance = wire.uid()
            Association(peer).store(instance, wire.dataset(instance))
            deadline = time.monotonic() + 30
            while not any(row["reason"] for row in peer.queue("list")) and time.monotonic() < deadline:
                time.sleep(0.1)
            waiting = peer.queue("list")
            tried = f"{waiting[0]['state']} ({waiting[0]['reason']})" if waiting else "**nothing waits**"
            held.release()
            found = delivered(peer)
    finally:
        archive.stop()
    return f"{tried}; {said(archive, found)}"


@row(GROUP, "has no presentation context for an SR", (OURS,), WHY)
def no_context(lab, name):
    return outcome(lab, Archive(free_port(), classes=()))


@contextlib.contextmanager
def aborting(archive: Archive, after: int):
    """A port before the archive: its first connection gets an A-ABORT after so many bytes."""
    listener = socket.create_server(("127.0.0.1", 0))
    first = threading.Event()

    def pump(source, sink, limit=None):
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                passed += len(data)
                if limit and passed > limit:
                    source.sendall(wire.ABORT)
                    break
                sink.sendall(data)
        for stream in (source, sink):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", archive.port))
                limit = None if first.is_set() else after
                first.set()
                threading.Thread(target=pump, args=(client, server, limit), daemon=True).start()
                threading.Thread(target=pump, args=(server, client), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@row(GROUP, "aborts in the middle of the object, once", (OURS,), WHY)
def aborts(lab, name):
    archive = acting()
    # Requests are a kilobyte, an SR is five and more.
    with aborting(archive, 3000) as port:
        return outcome(lab, archive, port)


@row(GROUP, "is not there for a day", (OURS,), WHY)
def away_for_a_day(lab, name):
    port = free_port()
    peer = lab.make(name, tables=destination(port))
    faults = with_faults(lab, peer)
    with lab.running(peer, environment=faults.environment()):
        instance = wire.uid()
        Association(peer).store(instance, wire.dataset(instance))
        deadline = time.monotonic() + 30
        while not any(row["reason"] for row in peer.queue("list")) and time.monotonic() < deadline:
            time.sleep(0.1)
        waiting = peer.queue("list")
        tried = f"{waiting[0]['state']} ({waiting[0]['reason'].split(':')[0]})" if waiting else "**nothing waits**"
        faults.set("clock_s", 86400)
        time.sleep(2)
        archive, began = Archive(port).start(), time.monotonic()
        found = delivered(peer)
        took = time.monotonic() - began
        archive.stop()
    return f"{tried}; {found['state']} {took:.1f} s after it came back; {len(archive.kept)} kept"
