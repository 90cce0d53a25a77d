"""What a row of the table is, and the place where its drills run."""

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import wire
from .peers import DicomRs, Orthanc, Ours, Peer, Storescp

OURS, ORTHANC, STORESCP, DICOM_RS = "ours", "Orthanc", "DCMTK storescp", "dicom-rs storescp"
ALL = (OURS, ORTHANC, STORESCP, DICOM_RS)


@dataclass
class Row:
    group: str
    title: str
    #: Takes a `Lab` and the peer's name; what it returns is the cell.
    drill: Callable[["Lab", str], str]
    #: Why a peer is not drilled.
    absent: dict[str, str] = field(default_factory=dict)
    #: Minutes of waiting, so all peers are drilled at once.
    slow: bool = False


ROWS: list[Row] = []


def row(group: str, title: str, only=ALL, why: str = "", slow: bool = False):
    """Adds the function below to the table. `why`: what the peers lack that are not in `only`."""

    def add(drill):
        ROWS.append(Row(group, title, drill, {name: why for name in ALL if name not in only}, slow))
        return drill

    return add


class Lab:
    """Starts peers, and stops them."""

    def __init__(self, folder: Path, ours: Path, dicom_rs: Path | None, faults: Path):
        self.folder, self.ours, self.dicom_rs, self.faults = folder, ours, dicom_rs, faults
        self.numbers = itertools.count(1)
        self.standing: dict[str, Peer] = {}

    def make(self, name: str, *arguments, **options) -> Peer:
        """A peer that is not running yet."""
        folder = self.folder / f"{next(self.numbers)}-{name.split()[0]}"
        if name == OURS:
            return Ours(folder, self.ours, *arguments, **options)
        if name == DICOM_RS:
            return DicomRs(folder, self.dicom_rs)
        return {ORTHANC: Orthanc, STORESCP: Storescp}[name](folder, *arguments, **options)

    def standard(self, name: str) -> Peer:
        """The running peer with its defaults."""
        if name not in self.standing or self.standing[name].process.poll() is not None:
            self.standing[name] = self.make(name).start()
        return self.standing[name]

    def alone(self, name: str) -> Peer:
        """A running peer with its defaults for one row, which may hold it up for minutes."""
        peer = self.make(name)
        self.standing[str(peer.folder)] = peer
        return peer.start()

    def mend(self, name: str) -> None:
        """What one row did to the running peer is no other row's fault."""
        peer = self.standing.get(name)
        if peer and not wire.serves(peer):
            peer.stop()

    @contextlib.contextmanager
    def running(self, peer: Peer, **how):
        peer.start(**how)
        try:
            yield peer
        finally:
            peer.stop()

    def close(self) -> None:
        for peer in self.standing.values():
            peer.stop()
