#!/usr/bin/env python3
"""Our engine and others on the same int8 files, taking turns; processor time of each.

    cargo build --release -p engine --example alternate
    .venv/bin/python runtime/benches/foreign.py FILE.onnx… [--engines openvino] [--isa avxvnni] [--threads 1] [--rounds 7]

Processor time and not the clock: other programs take turns of their own on a busy machine. A round runs each a few
times. Told are the median over rounds, the median of the ratios within a round, and the ratio of the least.
`--isa` holds for ours and for OpenVINO; ONNX Runtime takes what the processor has.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from engines.machine import processor_ms
from peers import ONEDNN, ROOT, Worker

RUNS = 4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--engines", nargs="+", choices=["onnxruntime", "openvino"], default=["onnxruntime"])
    parser.add_argument("--isa", choices=list(ONEDNN), help="instruction set of ours and of OpenVINO")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ours", type=Path, default=ROOT / "target/release/examples/alternate")
    parser.add_argument("--json", action="store_true", help="a JSON line a file instead of a table")
    return parser.parse_args()


def shape_of(file: Path) -> list[int]:
    (entry,) = [entry for entry in onnx.load(file).graph.input]
    return [1, *(side.dim_value for side in entry.type.tensor_type.shape.dim[1:])]


def measure(file: Path, image: Path, options: argparse.Namespace) -> dict:
    shape = shape_of(file)
    (0.2 * np.random.default_rng(7).standard_normal(shape)).astype(np.float32).tofile(image)
    worker = [sys.executable, Path(__file__).parent / "engines/worker.py"]
    workers = [Worker("ours", [options.ours, file, options.threads, image], options.isa)]
    try:
        for engine in options.engines:
            command = [*worker, engine, file, options.threads, image, ",".join(map(str, shape))]
            workers.append(Worker(engine, command, options.isa))
        rounds = [in_turns(workers, at) for at in range(options.rounds + 1)][1:]
    finally:
        for one in workers:
            one.close()
    found = {"file": file.name, "threads": options.threads, "isa": workers[0].greeting[-1].rpartition(", ")[2]}
    for one in workers:
        found[f"{one.engine}_ms"] = round(statistics.median(taken[one.engine] for taken in rounds), 3)
    for engine in options.engines:
        found[f"/ {engine}"] = round(statistics.median(taken["ours"] / taken[engine] for taken in rounds), 3)
        least = [min(taken[name] for taken in rounds) for name in ("ours", engine)]
        found[f"/ {engine}, least"] = round(least[0] / least[1], 3)
    return found | {"load": round(os.getloadavg()[0], 1)}


def in_turns(workers: list[Worker], at: int) -> dict:
    at %= len(workers)
    taken = {}
    for worker in workers[at:] + workers[:at]:
        before = processor_ms(worker.process.pid)
        worker.latencies(RUNS)
        taken[worker.engine] = (processor_ms(worker.process.pid) - before) / RUNS
    return taken


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        for file in options.files:
            found = measure(file, Path(folder) / "image.f32", options)
            rest = "  ".join(f"{name} {value}" for name, value in found.items() if name != "file")
            print(json.dumps(found) if options.json else f"{found['file']:40} {rest}", flush=True)


if __name__ == "__main__":
    main()
