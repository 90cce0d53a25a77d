#!/usr/bin/env python3
"""Makes the HTJ2K streams beside it: `target/pixels-venv/bin/python runtime/radiograph/tests/it/high_throughput/make.py`.

The environment is that of `runtime/benches/decoders.py`. OpenJPH writes the streams. `relaid.j2k` is one of its own laid out anew: it
has what that encoder does not write, packets by component, two layers, markers around packets and passes that refine. What is not
lossless, OpenJPEG decodes to `*.i16`.
"""

import struct
from pathlib import Path

import imagecodecs
import numpy as np

HERE = Path(__file__).resolve().parent
ROWS, COLUMNS = 37, 29


def phantom(bits: int) -> np.ndarray:
    """As `support.rs` draws it."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    value = (2**bits - 1) * (y * COLUMNS + x) // (ROWS * COLUMNS - 1)
    oval = [6 * (x - centre) ** 2 + (y - 18) ** 2 < 150 for centre in (8, 20)]
    return np.where(oval[0] | oval[1], value // 3, value).astype(np.uint16)


def hills() -> np.ndarray:
    """Several blocks a band: 150 rows of 201 columns."""
    y, x = np.mgrid[0:150, 0:201]
    return ((x * x + y * y >> 5) & 255).astype(np.uint8)


def header_end(stream: bytes) -> int:
    return stream.index(b"\xff\x93") + 2


class Bits:
    """Bits of packet headers, the highest first; seven in a byte after 0xFF."""

    def __init__(self, data: bytes = b""):
        self.data, self.at, self.left, self.out = data, 0, 0, [""]

    def get(self) -> int:
        if not self.left:
            self.left = 7 if self.at and self.data[self.at - 1] == 0xFF else 8
            self.at += 1
        self.left -= 1
        return self.data[self.at - 1] >> self.left & 1

    def number(self, count: int) -> int:
        return sum(self.get() << place for place in reversed(range(count)))

    def end(self) -> int:
        return self.at + (self.data[self.at - 1] == 0xFF)

    def put(self, bits: str) -> None:
        for bit in bits:
            if len(self.out[-1]) == (7 if len(self.out) > 1 and self.out[-2] in ("1" * 8,) else 8):
                self.out.append("")
            self.out[-1] += bit

    def bytes(self) -> bytes:
        full = [byte.ljust(7 if at and self.out[at - 1] == "1" * 8 else 8, "0") for at, byte in enumerate(self.out)]
        return bytes(int(byte, 2) for byte in full) + (b"\0" if full[-1] == "1" * 8 else b"")


def blocks(body: bytes, resolutions: int) -> list[list[tuple[int, bytes] | None]]:
    """Zero bit-planes and bytes of the one block of each band, resolution by resolution."""
    found = []
    for resolution in range(resolutions):
        bits, header = Bits(body), []
        present = bits.get()
        for _ in range(1 if resolution == 0 else 3):
            if not present or not bits.get():
                header.append(None)
                continue
            missing = 0
            while not bits.get():
                missing += 1
            assert bits.get() == 0, "one pass"
            length = 3
            while bits.get():
                length += 1
            header.append((missing, bits.number(length)))
        at, bands = bits.end(), []
        for block in header:
            bands.append(block and (block[0], body[at : at + block[1]]))
            at += block[1] if block else 0
        found.append(bands)
        body = body[at:]
    assert body in (b"", b"\xff\xd9"), body
    return found


def relaid(is_split: bool) -> bytes:
    """Blocks of one to three passes, those that refine being noise, in the first or the second layer; or split among both."""
    noise = np.random.default_rng(7)
    resolutions = 4
    stream = imagecodecs.htj2k_encode(phantom(12).astype(np.int16) - 2048 >> 1, reversible=True, resolutions=resolutions - 1)
    start = header_end(stream)
    layers = [{}, {}]  # by resolution and band: passes and bytes of the cleanup and of the refinement
    found = blocks(stream[start:], resolutions)
    for resolution, bands in enumerate(found):
        for band, block in enumerate(bands):
            refining = (resolution + 2 * band) % 3
            refinement = bytes(byte & 0x7F if at % 5 else 0xFF for at, byte in enumerate(noise.bytes(32)))
            if block is None:
                continue
            if is_split:
                layers[0][resolution, band] = [(1, block[1]), (0, b"")]
                layers[1][resolution, band] = [(0, b""), (refining, refinement)]
            else:
                layers[(resolution + band) % 2][resolution, band] = [(1, block[1]), (refining, refinement)]
    packets, widths = [], {}
    for layer, contents in enumerate(layers):
        for resolution, bands in enumerate(found):
            bits, data = Bits(), b""
            bits.put("1")
            for band, block in enumerate(bands):
                parts = [part for part in contents.get((resolution, band), []) if part[0]]
                if not parts:
                    bits.put("0")
                    continue
                bits.put("1")
                width = widths.get((resolution, band))
                if width is None:
                    width = 3
                    bits.put("0" * (block[0] - 1) + "1")  # zero bit-planes: one plane higher than it was
                bits.put({1: "0", 2: "10", 3: "1100"}[sum(passes for passes, _ in parts)])
                more = max(0, *(len(part).bit_length() - passes // 2 - width for passes, part in parts), 0)
                widths[resolution, band] = width + more
                bits.put("1" * more + "0")
                for passes, part in parts:
                    bits.put(f"{len(part):0{width + more + passes // 2}b}")
                    data += part
            packets.append((resolution, layer, bits.bytes() + b"\xff\x92" + data))
    # By component, then place: of one precinct each, resolutions with their layers.
    packets.sort(key=lambda packet: packet[:2])
    body = b"".join(b"\xff\x91\0\4" + struct.pack(">H", at) + packet[2] for at, packet in enumerate(packets))
    head = bytearray(stream[:start])
    style = head.index(b"\xff\x52") + 4
    head[style : style + 4] = bytes([head[style] | 6, 4, 0, 2])
    part = head.index(b"\xff\x90")
    head[part + 6 : part + 10] = struct.pack(">I", len(body) + start - part)
    return bytes(head) + body + b"\xff\xd9"


def main() -> None:
    grey = phantom(12)
    eight = (grey >> 4).astype(np.uint8)
    colours = np.stack([eight, eight[::-1], eight[:, ::-1]], -1)
    streams = {
        "lossless": imagecodecs.htj2k_encode(grey, reversible=True),
        "signed": imagecodecs.htj2k_encode(grey.astype(np.int16) - 2048, reversible=True),
        "colour": imagecodecs.htj2k_encode(colours, reversible=True, tile=(20, 16), tilepart=1, tlm=True),
        "hills": imagecodecs.htj2k_encode(hills(), reversible=True),
        "lossy": imagecodecs.htj2k_encode(grey, reversible=False, level=1e-4),
        "relaid": relaid(is_split=False),
    }
    (HERE / "split.j2k").write_bytes(relaid(is_split=True))  # the same samples; OpenJPEG does not read it
    for name, stream in streams.items():
        (HERE / f"{name}.j2k").write_bytes(stream)
        found = imagecodecs.jpeg2k_decode(stream)
        whole = {"lossless": grey, "signed": grey.astype(np.int16) - 2048, "colour": colours, "hills": hills()}.get(name)
        if whole is None:
            (HERE / f"{name}.i16").write_bytes(found.astype("<i2").tobytes())
        else:
            assert np.array_equal(found, whole), name
        print(name, len(stream), found.shape, found.min(), found.max())


if __name__ == "__main__":
    main()
