"""The same work in Python, in a process of its own: `worker.py FILE`.

Speaks as `runtime/radiograph/examples/pixels.rs` does: `ready` once it has run, then a line for each line: `N` runs N times
and answers with N times in milliseconds, `stages N` with the times of each stage as JSON, `input` with the network's input.
"""

import json
import sys
import time
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder

SIDE, MEAN, STD = 224, 0.4755, 0.3011
cv2.setNumThreads(1)


def decode(file: bytes, plugin: str) -> tuple:
    found = pydicom.dcmread(BytesIO(file))
    if plugin:
        found.pixel_array_options(decoding_plugin=plugin)
    return found, found.pixel_array


def displayed(found, stored: np.ndarray) -> np.ndarray:
    """Modality LUT, VOI LUT and inversion by pydicom's functions; without a window, the range of the values."""
    values = apply_modality_lut(stored, found)
    shown = apply_voi_lut(values, found)
    if "VOILUTSequence" not in found and "WindowCenter" in found:
        low, high = window_range(found)
    else:
        low, high = shown.min(), shown.max()
    shown = (shown.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return 1 - shown if found.PhotometricInterpretation == "MONOCHROME1" else shown


def window_range(found) -> tuple[float, float]:
    """What pydicom's `apply_windowing` maps black and white to."""
    bits = found.BitsStored
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if found.PixelRepresentation else (0, 2**bits - 1)
    if "ModalityLUTSequence" not in found and "RescaleSlope" in found:
        slope, intercept = float(found.RescaleSlope), float(found.RescaleIntercept)
        low, high = low * slope + intercept, high * slope + intercept
    return low, high


def resized(shown: np.ndarray) -> np.ndarray:
    return (cv2.resize(shown, (SIDE, SIDE), interpolation=cv2.INTER_AREA) - np.float32(MEAN)) / np.float32(STD)


def run(file: bytes, plugin: str) -> tuple[list[float], np.ndarray]:
    at = [time.perf_counter()]
    found, stored = decode(file, plugin)
    at.append(time.perf_counter())
    shown = displayed(found, stored)
    at.append(time.perf_counter())
    values = resized(shown)
    at.append(time.perf_counter())
    return [1e3 * (end - start) for start, end in zip(at, at[1:])], values


def best_plugin(file: bytes) -> str:
    """The fastest of pydicom's plug-ins on this file; empty where there is nothing to decompress."""
    syntax = pydicom.dcmread(BytesIO(file), stop_before_pixels=True).file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return ""
    times = {}
    for plugin in get_decoder(syntax).available_plugins:
        try:
            times[plugin] = min(run(file, plugin)[0][0] for _ in range(3))
        except Exception as error:  # whatever a plug-in raises: it is not the best
            print(f"{plugin}: {error}", file=sys.stderr)
    if not times:
        sys.exit(f"error: no plug-in of pydicom decodes {syntax.name}")
    return min(times, key=times.get)


def main() -> None:
    file = Path(sys.argv[1]).read_bytes()
    plugin = best_plugin(file)
    run(file, plugin)
    print(f"{plugin or 'numpy'}\nready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["input"]:
                print(json.dumps(run(file, plugin)[1].ravel().tolist()), flush=True)
            case ["stages", count]:
                all_times = zip(*(run(file, plugin)[0] for _ in range(int(count))))
                print(json.dumps(dict(zip(["decode", "lut", "resize"], map(list, all_times)))), flush=True)
            case [count]:
                print(" ".join(f"{sum(run(file, plugin)[0]):.4f}" for _ in range(int(count))), flush=True)


if __name__ == "__main__":
    main()
