"""Drills on the DICOM protocol: noise, slow peers, broken rules."""

import socket
import struct
import threading
import time

from . import wire
from .rows import row
from .wire import STORE, Association

GROUP = "DICOM protocol"


def after(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


def ended(stream: socket.socket, limit: float) -> str | None:
    """How the peer ends the connection within `limit` seconds; `None` if it does not."""
    stream.settimeout(max(limit, 0.001))
    try:
        first = stream.recv(4096)
    except TimeoutError:
        return None
    except ConnectionError:
        return "closed"
    return "A-ABORT" if first[:1] == b"\7" else "A-ASSOCIATE-RJ" if first[:1] == b"\3" else "closed" if not first else f"PDU {first[0]}"


def and_serves(lab, name: str) -> str:
    return "" if wire.serves(lab.standard(name)) else "; **out of service**"


@row(GROUP, "64 KiB of noise instead of a request")
def noise(lab, name):
    stream, began = wire.connect(lab.standard(name).port), time.monotonic()
    try:
        stream.sendall(bytes(7 * number % 251 for number in range(1 << 16)))
        how = ended(stream, 40)
    except ConnectionError:
        how = "closed"
    stream.close()
    return (f"{how} after {after(began)}" if how else "open after 40 s") + and_serves(lab, name)


@row(GROUP, "60 half requests: others served? closed within 20 s?")
def half_open(lab, name):
    peer = lab.standard(name)
    streams, began = [], time.monotonic()
    for _ in range(60):
        try:
            streams.append(wire.connect(peer.port, 3))
            streams[-1].sendall(wire.associate_rq(peer.title)[:7])
        except OSError:
            break
    served = wire.serves(peer)
    last = 0.0
    open_ones = list(streams)
    while open_ones and time.monotonic() - began < 20:
        for stream in list(open_ones):
            if ended(stream, 0.001):
                open_ones.remove(stream)
                last = time.monotonic() - began
    for stream in streams:
        stream.close()
    closed = len(streams) - len(open_ones)
    when = f" by {last:.1f} s" if closed else ""
    return f"{'served' if served else '**not served**'}; {closed} of {len(streams)} closed{when}"


@row(GROUP, "hundreds of half requests a second; 20 echoes meanwhile")
def flood(lab, name):
    peer, stop = lab.standard(name), threading.Event()

    def send():
        streams = []
        while not stop.wait(0.002):
            try:
                streams.append(wire.connect(peer.port, 1))
                streams[-1].sendall(wire.associate_rq(peer.title)[:7])
            except OSError:
                pass
            if len(streams) > 300:
                streams.pop(0).close()
        for stream in streams:
            stream.close()

    senders = [threading.Thread(target=send) for _ in range(2)]
    for sender in senders:
        sender.start()
    time.sleep(1)
    answered = sum(wire.serves(peer, 2) for _ in range(20))
    stop.set()
    for sender in senders:
        sender.join()
    time.sleep(1)
    return f"{answered} of 20 answered" + and_serves(lab, name)


def claim(peer, stream) -> str:
    """Says that 4 GiB follow, and sends until it is stopped or 64 MiB are sent."""
    before, sent = peer.resident_mb(), 0
    try:
        stream.settimeout(5)
        while sent < 64 << 20:
            stream.sendall(bytes(1 << 16))
            sent += 1 << 16
        how = f"took {sent >> 20} MiB"
    except TimeoutError:
        how = f"reads no more after {sent >> 20} MiB"
    except OSError:
        how = f"stopped after {sent / (1 << 20):.0f} MiB"
    grown = peer.resident_mb() - before
    stream.close()
    return f"{how}, {grown:+d} MiB of memory"


@row(GROUP, "a PDU that claims 4 GiB, before an association")
def claim_before(lab, name):
    peer = lab.standard(name)
    stream = wire.connect(peer.port)
    stream.sendall(struct.pack(">BBI", 1, 0, 0xFFFFFFF0))
    return claim(peer, stream) + and_serves(lab, name)


@row(GROUP, "the same within an association")
def claim_within(lab, name):
    peer = lab.standard(name)
    stream = Association(peer).stream
    stream.sendall(struct.pack(">BBI", 4, 0, 0xFFFFFFF0))
    return claim(peer, stream) + and_serves(lab, name)


def drip(stream, data: bytes, size: int, limit: int) -> str:
    """Sends `size` bytes a second until the peer has enough."""
    began = time.monotonic()
    for at in range(limit):
        try:
            stream.sendall(data(at) if callable(data) else data[at * size : (at + 1) * size])
        except OSError:
            return f"closed after {after(began)}"
        how = ended(stream, began + at + 1 - time.monotonic())
        if how:
            return f"{how} after {after(began)}"
    return f"open after {limit} s"


@row(GROUP, "a request at one byte a second", slow=True)
def slow_request(lab, name):
    peer = lab.alone(name)
    return drip(wire.connect(peer.port), wire.associate_rq(peer.title), 1, 70)


@row(GROUP, "an object at 20 bytes a second, a PDU each second", slow=True)
def slow_object(lab, name):
    association, instance = Association(lab.alone(name)), wire.uid()
    association.stream.sendall(wire.p_data(wire.value(STORE, 3, wire.command(1, wire.CR, instance))))
    data = wire.dataset(instance)

    def piece(at):
        return wire.p_data(wire.value(STORE, 0, data[at * 20 : at * 20 + 20]))

    return drip(association.stream, piece, 0, 150)


@row(GROUP, "an association that says nothing", slow=True)
def idle(lab, name):
    stream, began = Association(lab.alone(name)).stream, time.monotonic()
    how = ended(stream, 150)
    return f"{how} after {after(began)}" if how else "open after 150 s"


@row(GROUP, "a command in pieces of 10 bytes")
def pieces(lab, name):
    instance = wire.uid()
    return Association(lab.standard(name)).store(instance, wire.dataset(instance), pieces=10)


@row(GROUP, "P-DATA without a value, then C-ECHO")
def no_value(lab, name):
    association = Association(lab.standard(name))
    association.stream.sendall(wire.p_data())
    return association.echo()


@row(GROUP, "two C-STOREs without waiting")
def pipelined(lab, name):
    association, instances = Association(lab.standard(name)), [wire.uid(), wire.uid()]
    for instance in instances:
        association.send_object(instance, wire.dataset(instance))
    return " ".join(association.response() for _ in instances)


@row(GROUP, "128 contexts, a store on the last")
def contexts(lab, name):
    instance = wire.uid()
    association = Association(lab.standard(name), [(2 * number + 1, wire.CR) for number in range(128)])
    return association.store(instance, wire.dataset(instance), context=255)


@row(GROUP, "a store on a context that was never negotiated")
def wrong_context(lab, name):
    association = Association(lab.standard(name))
    association.stream.sendall(wire.p_data(wire.value(99, 3, wire.command(1, wire.CR, wire.uid()))))
    return association.response()


def in_mid_object(lab, name, pdu: bytes) -> str:
    association, instance = Association(lab.standard(name)), wire.uid()
    association.stream.sendall(wire.p_data(wire.value(STORE, 3, wire.command(1, wire.CR, instance))))
    association.stream.sendall(wire.p_data(wire.value(STORE, 0, wire.dataset(instance)[:1000])))
    association.stream.sendall(pdu)
    return association.response() + and_serves(lab, name)


@row(GROUP, "a second request in the middle of an object")
def request_in_object(lab, name):
    return in_mid_object(lab, name, wire.associate_rq(lab.standard(name).title))


@row(GROUP, "a release in the middle of an object")
def release_in_object(lab, name):
    return in_mid_object(lab, name, wire.RELEASE)


@row(GROUP, "an abort in the middle of an object; the object again")
def abort_in_object(lab, name):
    peer, instance = lab.standard(name), wire.uid()
    association, data = Association(peer), wire.dataset(instance)
    association.stream.sendall(wire.p_data(wire.value(STORE, 3, wire.command(1, wire.CR, instance))))
    for at in (0, 16000):
        association.stream.sendall(wire.p_data(wire.value(STORE, 0, data[at : at + 16000])))
    association.stream.sendall(wire.ABORT)
    how = ended(association.stream, 10) or "open after 10 s"
    association.close()
    time.sleep(0.5)
    halves = peer.holds(instance) + peer.leftovers()
    left = f", **{halves} halves left**" if halves else ", nothing left"
    again = Association(peer).store(instance, data)
    return f"{how}{left}; {again}, kept {peer.holds(instance)}" + and_serves(lab, name)


def refusal(peer, **how) -> str:
    try:
        association = Association(peer, timeout=4, **how)
    except RuntimeError as error:
        return str(error)
    except OSError:
        return "closed"
    association.release()
    return "accepted"


@row(GROUP, "a request for another AE title")
def another_title(lab, name):
    return refusal(lab.standard(name), title="SOMEBODY-ELSE") + and_serves(lab, name)


@row(GROUP, "a request without a context it knows; a store all the same")
def no_context(lab, name):
    private = "1.2.826.0.3680043.2.1.999"
    try:
        association = Association(lab.standard(name), [(STORE, private)])
    except RuntimeError as error:
        return str(error) + and_serves(lab, name)
    result, instance = association.results.get(STORE), wire.uid()
    answer = association.store(instance, wire.dataset(instance))
    return f"context {'**accepted**' if result == 0 else f'refused ({result})'}; {answer}, kept {lab.standard(name).holds(instance)}" + and_serves(lab, name)


@row(GROUP, "one address holds 40 associations; its echo; the same once they are released")
def hold(lab, name):
    peer, held, why = lab.standard(name), [], "none refused"
    for _ in range(40):
        try:
            held.append(Association(peer, timeout=4))
        except (OSError, RuntimeError) as error:
            why = str(error)
            break
    echo = "answered" if wire.serves(peer) else "refused"
    for association in held:
        association.release()
    time.sleep(1)
    return f"{len(held)} given ({why}), {echo}, then {'answered' if wire.serves(peer) else '**out of service**'}"


@row(GROUP, "the same object twice")
def twice(lab, name):
    peer, instance = lab.standard(name), wire.uid()
    answers = [Association(peer).store(instance, wire.dataset(instance)) for _ in range(2)]
    return f"{' '.join(answers)}, kept {peer.holds(instance)}"


@row(GROUP, "another object under the same UID")
def revision(lab, name):
    peer, instance = lab.standard(name), wire.uid()
    answers = [Association(peer).store(instance, wire.dataset(instance, seed=seed)) for seed in (1, 2)]
    return f"{' '.join(answers)}, kept {peer.holds(instance)}"


def under(lab, name, instance: str) -> str:
    peer = lab.standard(name)
    outside = {path.name for path in peer.folder.iterdir()}
    answer = Association(peer).store(instance, wire.dataset(instance))
    escaped = {path.name for path in peer.folder.iterdir()} - outside
    return answer + (f", **wrote {escaped}**" if escaped else "") + and_serves(lab, name)


@row(GROUP, "UID `../evil`")
def evil(lab, name):
    return under(lab, name, "../evil")


@row(GROUP, "an empty UID")
def empty(lab, name):
    return under(lab, name, "")
