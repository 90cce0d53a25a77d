#!/usr/bin/env python3
"""Decoders alone: our reading of a compressed DICOM file beside one library's decoding of its stream, taking turns in one run.

    cargo build --release -p radiograph --example pixels
    python3 runtime/benches/decoders.py                          files of the drawn chest, as `pixels.py` makes them
    python3 runtime/benches/decoders.py --sizes 4 --only jpeg-ls
    python3 runtime/benches/decoders.py --encode chest.dcm           an uncompressed file of yours, in every encoding

Ours is `radiograph::read`: header, decoder, and the table of greys. A library gets the stream alone: CharLS, libjpeg-turbo 3,
OpenJPEG and OpenJPH through imagecodecs, GDCM through pydicom with the data set parsed, pylibjpeg's RLE. What counts is processor time of
the process, ended threads included (jpeg-decoder and GDCM start some), in turns of 0.6 s since the system counts it in hundredths
of a second. The environment is that of `pixels.py`. Each library's samples are compared with pydicom's.
"""

import argparse
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from peers import Worker, enter_venv  # noqa: E402

TURN_MS = 600
LIBRARIES = {
    "rle": ["pylibjpeg-rle"],
    "jpeg-50": ["libjpeg-turbo", "gdcm"],
    "jpeg-51": ["libjpeg-turbo"],
    "jpeg-57": ["libjpeg-turbo", "gdcm"],
    "jpeg-70": ["libjpeg-turbo", "gdcm"],
    "jpeg-ls": ["charls", "gdcm"],
    "jpeg-2000": ["openjpeg", "gdcm"],
    "htj2k": ["openjpeg", "openjph"],
    "htj2k-lossy": ["openjpeg", "openjph"],
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", type=int, choices=[2, 4, 9], default=[4], help="megapixels of the drawn chest")
    parser.add_argument("--only", nargs="+", choices=list(LIBRARIES), default=list(LIBRARIES))
    parser.add_argument("--encode", nargs="+", type=Path, default=[], help="uncompressed DICOM files to measure in every encoding")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ours", type=Path, default=ROOT / "target/release/examples/pixels")
    parser.add_argument("--folder", type=Path, default=ROOT / "target/pixels", help="where drawn files lie (default target/pixels)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def turn(worker: Worker, count: int) -> float:
    """Processor milliseconds of one decoding, from `count` of them."""
    from engines.machine import process_seconds

    before = process_seconds(worker.process.pid)
    worker.ask(f"decode {count}")
    return 1e3 * (process_seconds(worker.process.pid) - before) / count


def measure(file: Path, libraries: list[str], rounds: int, ours: Path) -> dict:
    from engines.report import quartiles

    workers = [Worker("ours", [ours, file], None)]
    workers += [Worker(name, [sys.executable, HERE / "pixels/library.py", file, name], None) for name in libraries]
    try:
        counts = {worker.engine: max(2, round(5 * TURN_MS / max(turn(worker, 5) * 5, 10))) for worker in workers}
        found = []
        for at in range(rounds):
            order = workers[at % len(workers) :] + workers[: at % len(workers)]
            found.append({worker.engine: turn(worker, counts[worker.engine]) for worker in order})
    finally:
        for worker in workers:
            worker.close()
    return {
        "file": file.stem, "ms": {worker.engine: quartiles([one[worker.engine] for one in found]) for worker in workers},
        "ours_over": {name: quartiles([one["ours"] / one[name] for one in found]) for name in libraries},
    }  # fmt: skip


def main() -> None:
    options = arguments()
    if not options.ours.exists():
        sys.exit(f"error: {options.ours} is not there; build it as `{Path(__file__).name}` says at its top")
    enter_venv("pixels-venv", HERE / "pixels/requirements.txt")
    from engines import machine
    from pixels import files

    found, missing = [], {}
    for source in options.encode:
        more, why = files.encoded(options.folder, source, options.only)
        found, missing = found + more, missing | why
    if not options.encode:
        found, missing = files.made(options.folder, options.sizes, options.only)
    document = {"machine": machine.describe(), "load": os.getloadavg()[0], "missing": missing, "results": []}
    for file in found:
        encoding = next(name for name in LIBRARIES if file.stem.endswith(name))
        document["results"].append(measure(file, LIBRARIES[encoding], options.rounds, options.ours))
        print(file.stem, file=sys.stderr)
    print(json.dumps(document, indent=1) if options.json else table(document))


def table(document: dict) -> str:
    lines = ["| file | ours, ms | library | ms | ours / library |", "|---|---|---|---|---|"]
    for result in document["results"]:
        ms = {name: spread["median"] for name, spread in result["ms"].items()}
        for name, ratio in result["ours_over"].items():
            lines.append(f"| {result['file']} | {ms['ours']:.1f} | {name} | {ms[name]:.1f} | {ratio['median']:.2f} |")
    lines += [f"\nload {document['load']:.1f}, {document['machine']}"]
    return "\n".join(lines + [f"left out: {name}: {why}" for name, why in document["missing"].items()])


if __name__ == "__main__":
    main()
