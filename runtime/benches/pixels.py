#!/usr/bin/env python3
"""From the bytes of a DICOM file to the network's input: ours, pydicom with OpenCV, and DCMTK, taking turns in one run.

    cargo build --release -p radiograph --example pixels
    python3 runtime/benches/pixels.py                            2, 4 and 9 megapixels in eleven encodings
    python3 runtime/benches/pixels.py --sizes 2 --only rle jpeg-ls --rounds 9
    python3 runtime/benches/pixels.py --files chest.dcm             files as they are
    python3 runtime/benches/pixels.py --encode chest.dcm            an uncompressed file of yours, in every encoding

Ours and Python live in processes of their own and have run before the first round. In a round each runs for a third of a
second, in an order that alternates. What counts is processor time: other programs take turns of their own on a busy machine.
Reported are quartiles over rounds, and of the ratios within a round. Python takes the fastest of pydicom's plug-ins (GDCM,
pylibjpeg, CharLS), its functions for the look-up tables, and OpenCV's area filter. `dcmj2pnm` is a process a file and writes
a picture of 8 bits. The limit is the time to read the file's bytes once from memory, measured in the same run.
Packages are installed into `target/pixels-venv`; DCMTK comes from Debian.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from peers import Worker, enter_venv  # noqa: E402

TURN_MS = 300
ENCODINGS = ["implicit", "explicit", "big-endian", "explicit-8-bit", "rle", "jpeg-50", "jpeg-51", "jpeg-57", "jpeg-70", "jpeg-ls", "jpeg-2000"]
#: Transfer syntaxes by the program of DCMTK that reads them.
DCMTK = {"1.2.840.10008.1.2.4.80": "dcml2pnm", "1.2.840.10008.1.2.4.81": "dcml2pnm"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", type=int, choices=[2, 4, 9], default=[2, 4, 9], help="megapixels of the drawn chest")
    parser.add_argument("--only", nargs="+", choices=ENCODINGS, default=ENCODINGS)
    parser.add_argument("--files", nargs="+", type=Path, default=[], help="DICOM files to measure instead of the drawn chest")
    parser.add_argument("--encode", nargs="+", type=Path, default=[], help="uncompressed DICOM files to measure in every encoding")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ours", type=Path, default=ROOT / "target/release/examples/pixels")
    parser.add_argument("--folder", type=Path, default=ROOT / "target/pixels", help="where drawn files lie (default target/pixels)")
    parser.add_argument("--out", type=Path, default=ROOT / "target/pixels/pixels.json")
    parser.add_argument("--chart", type=Path, help="SVG or PNG to draw")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of a table")
    return parser.parse_args()


def turn(worker: Worker, count: int) -> float:
    """Processor milliseconds of one run, from `count` of them."""
    from engines.machine import processor_ms

    before = processor_ms(worker.process.pid)
    worker.latencies(count)
    return (processor_ms(worker.process.pid) - before) / count


def dcmtk(file: Path, syntax: str) -> float | None:
    """Processor milliseconds of DCMTK's program, start and end of the process included; `None` if it cannot read the file."""
    program = shutil.which(DCMTK.get(syntax, "dcmj2pnm"))
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        window = ["+Wi", "1"] if has_window(file) else ["+Wm"]
        command = [program, "-q", "+op", *window, "+Sxv", "224", "+Syv", "224", str(file), f"{folder}/out.pgm"]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        return 1e3 * (usage.ru_utime + usage.ru_stime) if child.returncode == 0 else None


def has_window(file: Path) -> bool:
    import pydicom

    return "WindowCenter" in pydicom.dcmread(file, stop_before_pixels=True)


def measure(file: Path, options: argparse.Namespace, bandwidth: float) -> dict:
    from engines.report import quartiles
    import pydicom

    syntax = pydicom.dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID
    workers = [Worker("ours", [options.ours, file], None), Worker("python", [sys.executable, HERE / "pixels/worker.py", file], None)]
    try:
        inputs = [json.loads(worker.ask("input")) for worker in workers]
        counts = {worker.engine: max(3, round(TURN_MS / min(worker.latencies(3)))) for worker in workers}
        rounds = []
        for at in range(options.rounds):
            order = workers[at % 2 :] + workers[: at % 2]
            rounds.append({worker.engine: turn(worker, counts[worker.engine]) for worker in order})
            if (other := dcmtk(file, syntax)) is not None:
                rounds[-1]["dcmtk"] = other
        stages = {worker.engine: fastest(json.loads(worker.ask(f"stages {counts[worker.engine]}"))) for worker in workers}
    finally:
        for worker in workers:
            worker.close()
    names = [name for name in ("ours", "python", "dcmtk") if all(name in one for one in rounds)]
    return {
        "file": file.stem, "syntax": str(syntax), "bytes": file.stat().st_size, "plugin": workers[1].greeting[0], "rounds": len(rounds),
        "ms": {name: quartiles([one[name] for one in rounds]) for name in names}, "stages": stages,
        "ours_over_python": quartiles([one["ours"] / one["python"] for one in rounds]),
        "limit_ms": file.stat().st_size / bandwidth / 1e6, "difference": difference(*inputs),
    }  # fmt: skip


def fastest(stages: dict[str, list[float]]) -> dict[str, float]:
    """Of each stage by the clock, which other programs disturb: the least."""
    return {name: min(times) for name, times in stages.items()}


def difference(ours: list[float], theirs: list[float]) -> float:
    """Mean difference of two network inputs as a share of the range: they show the same picture by two filters."""
    spread = max(ours) - min(ours) or 1.0
    return sum(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / len(ours) / spread


def main() -> None:
    options = arguments()
    if not options.ours.exists():
        sys.exit(f"error: {options.ours} is not there; build it as `{Path(__file__).name}` says at its top")
    enter_venv("pixels-venv", HERE / "pixels/requirements.txt")
    from engines import machine
    from pixels import files, report

    found, missing = list(options.files), {}
    for source in options.encode:
        more, why = files.encoded(options.folder, source, options.only)
        found, missing = found + more, missing | why
    if not options.files and not options.encode:
        found, missing = files.made(options.folder, options.sizes, options.only)
    if not found:
        sys.exit(f"error: no file to measure: {missing}")
    probe = Worker("ours", [options.ours, found[0]], None)
    bandwidth = float(probe.ask("bandwidth"))
    probe.close()
    document = {"machine": machine.describe(), "load": os.getloadavg()[0], "gigabytes_per_second": bandwidth, "missing": missing, "results": []}
    for file in found:
        try:
            document["results"].append(measure(file, options, bandwidth))
        except SystemExit as error:  # of a worker that cannot read it
            missing[file.stem] = str(error)
            continue
        print(f"{file.stem}: ours / Python {document['results'][-1]['ours_over_python']['median']:.3f}", file=sys.stderr)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    if options.chart:
        report.chart(document, options.chart)
    print(json.dumps(document) if options.json else f"{report.table(document)}\n\n{report.notes(document)}")


if __name__ == "__main__":
    main()
