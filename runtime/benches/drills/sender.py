"""Senders in processes of their own, so that what they cost is not on the clock of who measures."""

import multiprocessing
import time

from . import wire
from .wire import Association

#: As long as every UID that `template` is filled with.
BLANK = "1.2.826.0.2.000000.00000000"


def template(side: int) -> bytes:
    return wire.dataset(BLANK, side)


def fill(data: bytes, instance: str) -> bytes:
    """The same picture as another object of another study."""
    return data.replace(BLANK.encode(), instance.encode())


def instance(sender: int, number: int) -> str:
    return f"1.2.826.0.2.{100000 + sender}.{10000000 + number}"


def _steady(peer_port: int, title: str, sender: int, side: int, rate: float | None, until, stored) -> None:
    class Peer:
        port = peer_port

    Peer.title = title
    data, association, number, began = template(side), Association(Peer, timeout=60), 0, time.monotonic()
    while not until.is_set():
        if rate and until.wait(max(0.0, began + number / rate - time.monotonic())):
            break
        one = instance(sender, number)
        answer = association.store(one, fill(data, one))
        if answer != "0000":
            raise RuntimeError(f"C-STORE: {answer}")
        number += 1
        with stored.get_lock():
            stored.value += 1
    association.release()


class Senders:
    """`count` senders; each as fast as it can, or at `rate` objects a second."""

    def __init__(self, peer, count: int, side: int, rate: float | None = None):
        self.until, self.stored = multiprocessing.Event(), multiprocessing.Value("L", 0)
        arguments = [(peer.port, peer.title, sender, side, rate, self.until, self.stored) for sender in range(count)]
        self.processes = [multiprocessing.Process(target=_steady, args=one, daemon=True) for one in arguments]

    def __enter__(self) -> "Senders":
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_) -> None:
        self.until.set()
        for process in self.processes:
            process.join()
        self.failed = sum(process.exitcode != 0 for process in self.processes)
