"""Drills on HTTP."""

import socket
import time

from . import wire
from .rows import OURS, ORTHANC, row

GROUP = "HTTP"
WITH_HTTP = (OURS, ORTHANC)
WHY = "no HTTP"


def ask(peer, head: bytes, limit: float = 20) -> str:
    """The status line's number, or what came instead."""
    try:
        with socket.create_connection(("127.0.0.1", peer.http), timeout=limit) as stream:
            stream.sendall(head)
            answer = stream.recv(64)
            return answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/") else "closed"
    except TimeoutError:
        return f"no answer in {limit:.0f} s"
    except OSError:
        return "closed"


@row(GROUP, "1,100 idle connections, 1,024 descriptors: DICOM, HTTP meanwhile", WITH_HTTP, WHY)
def idle_connections(lab, name):
    with lab.running(lab.make(name), before=["prlimit", "--nofile=1024"]) as peer:
        streams = []
        for _ in range(1100):
            try:
                streams.append(socket.create_connection(("127.0.0.1", peer.http), timeout=2))
            except OSError:
                break
        dicom = "served" if wire.serves(peer) else "**not served**"
        http = ask(peer, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 5)
        for stream in streams:
            stream.close()
        return f"{len(streams)} taken, DICOM {dicom}, HTTP {http}"


@row(GROUP, "a head at one byte a second", WITH_HTTP, WHY, slow=True)
def slow_loris(lab, name):
    peer, head, began = lab.alone(name), b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200, time.monotonic()
    with socket.create_connection(("127.0.0.1", peer.http)) as stream:
        for at in range(90):
            try:
                stream.sendall(head[at : at + 1])
                stream.settimeout(max(began + at + 1 - time.monotonic(), 0.001))
                said = stream.recv(64)
                return f"{said.split(b' ')[1].decode() if said else 'closed'} after {time.monotonic() - began:.1f} s"
            except TimeoutError:
                continue
            except OSError:
                return f"closed after {time.monotonic() - began:.1f} s"
    return "open after 90 s"


@row(GROUP, "`Host: evil.example`", WITH_HTTP, WHY)
def wrong_host(lab, name):
    path = "/images" if name == OURS else "/instances"
    return ask(lab.standard(name), f"GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())


@row(GROUP, "a header of 1 MiB", WITH_HTTP, WHY)
def giant_header(lab, name):
    peer = lab.standard(name)
    answer = ask(peer, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n")
    return answer + ("" if wire.serves(peer) else "; **out of service**")
