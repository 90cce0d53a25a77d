#!/usr/bin/env python3
"""Our engine and ONNX Runtime on int8 files that others wrote, taking turns; processor time of each.

    cargo build --release -p engine --example alternate
    .venv/bin/python runtime/benches/foreign.py FILE.onnx… [--threads 1] [--rounds 7] [--ours PROGRAM] [--json]

Processor time and not the clock: other programs take turns of their own on a busy machine. A round runs each five
times; the median over rounds counts, and the median of the ratios within a round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

from engines.machine import processor_ms

ROOT = Path(__file__).resolve().parents[2]
RUNS = 5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ours", type=Path, default=ROOT / "target/release/examples/alternate")
    parser.add_argument("--json", action="store_true", help="a JSON line a file instead of a table")
    return parser.parse_args()


def ours(program: Path, file: Path, threads: int) -> subprocess.Popen:
    command = [program, file, str(threads)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.strip() == "ready":
            return process
    raise SystemExit(f"error: {program} ended with {process.wait()} on {file}")


def measure(file: Path, options: argparse.Namespace) -> dict:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = options.threads, 3
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    image = {entry.name: np.full([1, *entry.shape[1:]], 0.5, np.float32)}
    engine = ours(options.ours, file, options.threads)
    session.run(None, image)
    rounds = []
    for _ in range(options.rounds):
        before = processor_ms(engine.pid)
        engine.stdin.write(f"{RUNS}\n")
        engine.stdin.flush()
        engine.stdout.readline()
        mine, before = (processor_ms(engine.pid) - before) / RUNS, time.process_time_ns()
        for _ in range(RUNS):
            session.run(None, image)
        rounds.append((mine, (time.process_time_ns() - before) / 1e6 / RUNS))
    engine.stdin.close()
    engine.wait()
    median = statistics.median
    return {
        "file": file.name,
        "threads": options.threads,
        "ours_ms": round(median(a for a, _ in rounds), 3),
        "onnxruntime_ms": round(median(b for _, b in rounds), 3),
        "ratio": round(median(a / b for a, b in rounds), 3),
    }


def main() -> None:
    options = arguments()
    print(f"ONNX Runtime {onnxruntime.__version__}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    for file in options.files:
        found = measure(file, options)
        text = json.dumps(found) if options.json else "{file:40} {ours_ms:9.3f} {onnxruntime_ms:9.3f} {ratio:6.3f}".format(**found)
        print(text, flush=True)


main()
