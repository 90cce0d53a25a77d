"""DICOM on a socket, one PDU at a time, so that a drill can stop, repeat or spoil any of them."""

import itertools
import os
import socket
import struct
from pathlib import Path

import numpy as np
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

#: Some drills send what no writer would.
config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
VERIFICATION, CR, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2"
#: Presentation contexts of `Association`.
ECHO, STORE = 1, 3
RELEASE = struct.pack(">BBIxxxx", 5, 0, 4)
ABORT = struct.pack(">BBIxxxx", 7, 0, 4)
_numbers = itertools.count(1)


def uid() -> str:
    return f"1.2.826.0.2.{os.getpid()}.{next(_numbers)}"


def dataset(sop_instance: str, side: int = 160, study: str | None = None, seed: int = 0) -> bytes:
    """A drawn chest, `side`² pixels of 16 bits, in implicit little endian."""
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = CR, sop_instance
    one.Modality, one.PatientName, one.PatientID = "CR", "Phantom^Drawn", "P-1"
    one.BodyPartExamined, one.ViewPosition = "CHEST", "PA"
    one.StudyInstanceUID, one.SeriesInstanceUID = study or f"{sop_instance}.1", f"{sop_instance}.2"
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.Rows, one.Columns, one.BitsAllocated, one.BitsStored, one.HighBit = side, side, 16, 12, 11
    one.PixelData = chest(side, seed).tobytes()
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, True
    write_dataset(file, one)
    return file.getvalue()


def real(path: Path) -> tuple[str, bytes]:
    """The SOP Instance UID of a file, and its data set in implicit little endian."""
    one = dcmread(path)
    one.SOPClassUID = CR
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, True
    write_dataset(file, one)
    return one.SOPInstanceUID, file.getvalue()


def renamed(data: bytes, before: str, after: str) -> bytes:
    """The same data set as another instance, implicit little endian."""

    def element(instance: str) -> bytes:
        body = instance.encode()
        body += bytes(len(body) % 2)
        return struct.pack("<HHI", 8, 0x18, len(body)) + body

    if data.count(element(before)) != 1:
        raise ValueError(f"{before} is not there once")
    return data.replace(element(before), element(after))


def chest(side: int, seed: int) -> np.ndarray:
    """Two dark lungs on a grey body, with noise."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    lung = ((abs(x) - 0.2) / 0.13) ** 2 + (y / 0.33) ** 2 < 1
    noise = np.random.default_rng(seed).integers(0, 200, (side, side))
    return (np.where(lung, 900, 2600 - 1800 * abs(x)) + noise).astype("<u2")


def associate_rq(called: str, contexts=None, calling: str = "DRILL") -> bytes:
    contexts = contexts or [(ECHO, VERIFICATION), (STORE, CR)]

    def item(kind: int, body: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(body)) + body

    proposed = b"".join(
        item(0x20, bytes([number, 0, 0, 0]) + item(0x30, name.encode()) + item(0x40, IMPLICIT.encode()))
        for number, name in contexts
    )
    user = item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.826.0.2"))
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + proposed + user
    return struct.pack(">BBI", 1, 0, len(body)) + body


def p_data(*values: bytes) -> bytes:
    body = b"".join(values)
    return struct.pack(">BBI", 4, 0, len(body)) + body


def value(context: int, header: int, body: bytes) -> bytes:
    """A presentation data value. Header: 1 command, 2 last."""
    return struct.pack(">IBB", len(body) + 2, context, header) + body


def command(field: int, sop_class: str, instance: str | None = None) -> bytes:
    def element(number: int, body: bytes) -> bytes:
        body += bytes(len(body) % 2)
        return struct.pack("<HHI", 0, number, len(body)) + body

    has_data = instance is not None
    elements = element(2, sop_class.encode()) + element(0x100, struct.pack("<H", field))
    elements += element(0x110, struct.pack("<H", 1))
    if has_data:
        elements += element(0x700, struct.pack("<H", 0))
    elements += element(0x800, struct.pack("<H", 1 if has_data else 0x101))
    if has_data:
        elements += element(0x1000, instance.encode())
    return element(0, struct.pack("<I", len(elements))) + elements


def accepted(body: bytes):
    """Each presentation context of an A-ASSOCIATE-AC and its result."""
    at = 68
    while at + 4 <= len(body):
        kind, _, length = struct.unpack_from(">BBH", body, at)
        if kind == 0x21:
            yield body[at + 4], body[at + 6]
        at += 4 + length


def connect(port: int, timeout: float = 8) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


class Association:
    """An accepted association; `RuntimeError` says what came instead."""

    def __init__(self, peer, contexts=None, stream=None, timeout: float = 8, title: str | None = None):
        self.stream = stream or connect(peer.port, timeout)
        self.stream.sendall(associate_rq(title or peer.title, contexts))
        kind, body = self.pdu()
        if kind != 2:
            self.close()
            # Result, source, reason: PS3.8, table 9-21.
            why = "-".join(str(byte) for byte in body[1:4])
            raise RuntimeError({3: f"A-ASSOCIATE-RJ {why}", 7: "A-ABORT"}.get(kind, f"PDU {kind}"))
        #: Presentation context → result, 0 if accepted (PS3.8, table 9-18).
        self.results = dict(accepted(body))

    def pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._read(6))
        return kind, self._read(length)

    def response(self) -> str:
        """The status of the next response, or what came instead of one."""
        try:
            kind, body = self.pdu()
        except TimeoutError:
            return "no answer"
        except OSError as error:
            return "closed" if isinstance(error, ConnectionError) else type(error).__name__
        if kind != 4:
            return {6: "A-RELEASE-RP", 7: "A-ABORT"}.get(kind, f"PDU {kind}")
        at, elements = 0, body[6:]
        while at + 8 <= len(elements):
            _, number, length = struct.unpack_from("<HHI", elements, at)
            if number == 0x900:
                return f"{struct.unpack_from('<H', elements, at + 8)[0]:04X}"
            at += 8 + length
        return "no status"

    def echo(self) -> str:
        self.stream.sendall(p_data(value(ECHO, 3, command(0x30, VERIFICATION))))
        return self.response()

    def send_object(self, instance: str, data: bytes, context: int = STORE, pieces: int | None = None) -> None:
        words = command(1, CR, instance)
        parts = [words[at : at + (pieces or len(words))] for at in range(0, len(words), pieces or len(words))]
        for number, part in enumerate(parts):
            self.stream.sendall(p_data(value(context, 1 | 2 * (number + 1 == len(parts)), part)))
        for at in range(0, len(data), 16000):
            self.stream.sendall(p_data(value(context, 2 * (at + 16000 >= len(data)), data[at : at + 16000])))

    def store(self, instance: str, data: bytes, **how) -> str:
        try:
            self.send_object(instance, data, **how)
        except TimeoutError:
            return "no answer"
        except ConnectionError:
            return self.response()
        return self.response()

    def close(self) -> None:
        self.stream.close()

    def release(self) -> None:
        self.stream.sendall(RELEASE)
        try:
            self.pdu()
        except OSError:
            pass
        self.close()

    def _read(self, count: int) -> bytes:
        read = b""
        while len(read) < count:
            more = self.stream.recv(count - len(read))
            if not more:
                raise ConnectionResetError("closed")
            read += more
        return read


def serves(peer, timeout: float = 4) -> bool:
    """Whether it answers a C-ECHO on an association of its own."""
    try:
        association = Association(peer, timeout=timeout)
        answer = association.echo()
        association.release()
        return answer == "0000"
    except (OSError, RuntimeError):
        return False
