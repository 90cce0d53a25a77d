"""One library's decoding of a file's compressed stream, in a process of its own: `library.py FILE NAME`.

Prints `ready` once it has decoded, and what it gave is what pydicom gives; then answers `decode N` by decoding N times.
"""

import sys

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder


def decoder(found: pydicom.Dataset, name: str):
    """A function that decodes the first frame to samples."""
    stream = next(generate_frames(found.PixelData, number_of_frames=1))
    match name:
        case "charls":
            return lambda: imagecodecs.jpegls_decode(stream)
        case "libjpeg-turbo":
            return lambda: imagecodecs.jpeg8_decode(stream)
        case "openjph":
            return lambda: imagecodecs.htj2k_decode(stream)
        case "openjpeg":
            return lambda: imagecodecs.jpeg2k_decode(stream, numthreads=1)
        case "pylibjpeg-rle" | "gdcm":
            plugin = name.split("-")[0]
            decode = get_decoder(found.file_meta.TransferSyntaxUID)
            return lambda: decode.as_array(found, decoding_plugin=plugin)[0]
    sys.exit(f"error: library {name}, expected charls, libjpeg-turbo, openjpeg, openjph, pylibjpeg-rle or gdcm")


def main() -> None:
    found = pydicom.dcmread(sys.argv[1])
    decode = decoder(found, sys.argv[2])
    keyword = found.file_meta.TransferSyntaxUID.keyword
    step = 1 if keyword in ("JPEGExtended12Bit", "HTJ2K") else 0  # lossy ones round in several ways
    far = np.abs(np.asarray(decode()).astype(int) - found.pixel_array.astype(int)).max()
    if far > step and keyword != "JPEGBaseline8Bit":
        sys.exit(f"error: {sys.argv[2]} is {far} away from pydicom on {sys.argv[1]}")
    print("ready", flush=True)
    for line in sys.stdin:
        command, count = line.split()
        for _ in range(int(count) if command == "decode" else 0):
            decode()
        print(count, flush=True)


if __name__ == "__main__":
    main()
