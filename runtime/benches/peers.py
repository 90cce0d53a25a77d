#!/usr/bin/env python3
"""Our int8 engine and others on the same ONNX files, taking turns in one run.

    cargo build --release -p engine --example alternate && cargo build -p exporter
    python3 runtime/benches/peers.py                                 everything: a quarter of an hour on an idle machine
    python3 runtime/benches/peers.py --models resnet50 --threads 1 --rounds 9 --isa avx2

Every engine lives in a process of its own and is loaded before the first round. In a round each runs for a
tenth of a second and more, in an order that rotates; its median counts. A round in which other programs used more
than 5 % of a processor while anyone's turn lasted is dropped and made up for. Reported are quartiles over rounds of
each median and of the ratios within a round.

The other engines are installed into `target/peers-venv` from `requirements.txt` beside this file. With `--merge` the
results of an earlier JSON are kept and only the models and threads asked for are measured again.
`runtime/docs/peers.md` says which engines are there, which are not, and why.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

ENGINES = ["ours", "onnxruntime", "onnxruntime-exact", "openvino", "litert"]
#: By the names of their packages.
PACKAGES = {"litert": "ai-edge-litert"}
NETWORKS = ["resnet50", "resnet18", "segmentation", "detection"]
#: A turn lasts at least that long, so that ticks of the kernel's clock can tell who used the processor.
TURN_SECONDS = 0.3
FOREIGN_SHARE = 0.05
#: Our instruction sets by OpenVINO's names (those of its library oneDNN). The others cannot be restricted.
ONEDNN = {"avx2": "AVX2", "avxvnni": "AVX2_VNNI", "avx512vnni": "AVX512_CORE_VNNI", "amx": "AVX512_CORE_AMX"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--engines", nargs="+", choices=ENGINES[1:], default=ENGINES[1:])
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count (default 15)")
    parser.add_argument("--isa", help="instruction set of ours (CXR_ISA) and of OpenVINO; the others take what the machine has")
    parser.add_argument("--patience", type=float, default=300, help="seconds to wait in all for an idle machine, a model (default 300)")
    parser.add_argument("--folder", type=Path, default=ROOT / "target/peers", help="where models lie (default target/peers)")
    parser.add_argument("--exporter", type=Path, default=ROOT / "target/debug/exporter")
    parser.add_argument("--ours", type=Path, default=ROOT / "target/release/examples/alternate")
    parser.add_argument("--out", type=Path, default=ROOT / "target/peers/peers.json")
    parser.add_argument("--merge", action="store_true", help="keep other results of --out")
    parser.add_argument("--chart", type=Path, help="SVG or PNG to draw from all results of --out")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of a table")
    return parser.parse_args()


def enter_venv(name: str, requirements: Path) -> None:
    """Goes on in the virtual environment `target/NAME`, made if need be."""
    venv, wanted = ROOT / "target" / name, requirements.read_text()
    stamp = venv / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {' '.join(wanted.split())} into {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements], check=True)
        stamp.write_text(wanted)
    if Path(sys.prefix).resolve() != venv.resolve():
        os.execv(venv / "bin/python", [str(venv / "bin/python"), *sys.argv])


class Worker:
    """A loaded engine that answers line by line."""

    def __init__(self, engine: str, command: list, isa: str | None):
        self.engine = engine
        environment = dict(os.environ)
        if isa and engine == "ours":
            environment["CXR_ISA"] = isa
        if isa in ONEDNN and engine == "openvino":
            environment["ONEDNN_MAX_CPU_ISA"] = ONEDNN[isa]
        environment.pop("OMP_NUM_THREADS", None)
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.greeting = []
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
            self.greeting.append(line.strip())
        else:
            sys.exit(f"error: {engine} ended with {self.process.wait()} before it was ready: {' '.join(map(str, command))}")

    def ask(self, question) -> str:
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"error: {self.engine} ended with {self.process.wait()} when asked {question}")
        return answer

    def latencies(self, count: int) -> list[float]:
        return [float(latency) for latency in self.ask(count).split()]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(model: str, threads: int, options: argparse.Namespace) -> dict | None:
    from engines import models, report

    path, image = models.onnx_file(model, options.folder, options.exporter), options.folder / "image.f32"
    models.image().tofile(image)
    workers = [Worker("ours", [options.ours, path, threads, image], options.isa)]
    for engine in options.engines:
        file = path
        if engine == "litert":
            file = options.folder / f"{model}.tflite"
            subprocess.run([sys.executable, HERE / "engines/litert_model.py", path, file], check=True)
        workers.append(Worker(engine, [sys.executable, HERE / "engines/worker.py", engine, file, threads, image], options.isa))
    try:
        outputs = {worker.engine: json.loads(worker.ask("outputs")) for worker in workers}
        counts = {worker.engine: turn(worker) for worker in workers}
        rounds, dropped = take_rounds(model, threads, workers, counts, options)
        memory = {worker.engine: json.loads(worker.ask("memory")) for worker in workers}
    finally:
        for worker in workers:
            worker.close()
    if not rounds:
        print(f"{model}, {threads} threads: no idle round in {options.patience:.0f} s", file=sys.stderr)
        return None
    return {
        "model": model, "threads": threads, "model_mb": path.stat().st_size / 1e6, **report.summarise(rounds), "dropped_rounds": dropped,
        "memory_mb": memory, "agreement": agreement(outputs), "greetings": {worker.engine: worker.greeting for worker in workers},
    }  # fmt: skip


def turn(worker: Worker) -> int:
    """How many runs fill a turn."""
    worker.latencies(3)
    return max(3, round(1000 * TURN_SECONDS / min(worker.latencies(3))))


def take_rounds(model, threads, workers, counts, options) -> tuple[list[dict], int]:
    from engines.machine import Watch, wait_until_idle

    rounds, dropped, deadline = [], 0, time.monotonic() + options.patience
    while len(rounds) < options.rounds and time.monotonic() < deadline:
        if not wait_until_idle(deadline - time.monotonic()):
            break
        at = (len(rounds) + dropped) % len(workers)
        medians, foreign = {}, 0.0
        for worker in workers[at:] + workers[:at]:
            watch = Watch(*(other.process.pid for other in workers))
            latencies = sorted(worker.latencies(counts[worker.engine]))
            foreign = max(foreign, watch.foreign_share())
            medians[worker.engine] = latencies[len(latencies) // 2]
            time.sleep(0.02)
        if foreign > FOREIGN_SHARE:
            dropped += 1
        else:
            rounds.append({worker.engine: medians[worker.engine] for worker in workers})
        if sys.stderr.isatty():
            print(f"\r{model}, {threads} threads: {len(rounds)} of {options.rounds} rounds, {dropped} dropped ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return rounds, dropped


def agreement(outputs: dict) -> dict:
    """Largest difference to ours of every peer's outputs, as a share of the largest value: they compute the same network."""
    differences = {}
    for engine in set(outputs) - {"ours"}:
        worst = 0.0
        for name, ours in outputs["ours"].items():
            theirs = outputs[engine][name]
            largest = max(abs(value) for value in ours) or 1.0
            worst = max(worst, max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / largest)
        differences[engine] = worst
    return differences


def main() -> None:
    options = arguments()
    enter_venv("peers-venv", HERE / "requirements.txt")
    from engines import machine, report

    for program in (options.exporter, options.ours):
        if not program.exists():
            sys.exit(f"error: {program} is not there; build it as `{Path(__file__).name}` says at its top")
    options.folder.mkdir(parents=True, exist_ok=True)
    versions = subprocess.run([sys.executable, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True).stdout
    versions = {package["name"]: package["version"] for package in json.loads(versions)}
    versions = {engine: versions[PACKAGES.get(engine, engine)] for engine in options.engines if PACKAGES.get(engine, engine) in versions}
    document = {"machine": machine.describe(), "isa": None, "engines": ["ours", *options.engines], "versions": versions, "results": []}
    if options.merge and options.out.exists():
        document = json.loads(options.out.read_text())
    for model in options.models:
        for threads in options.threads:
            result = measure(model, threads, options)
            if result is None:
                continue
            document["isa"] = result["greetings"]["ours"][0].rpartition(", ")[2]
            key = (model, threads)
            document["results"] = [old for old in document["results"] if (old["model"], old["threads"]) != key] + [result]
            document["results"].sort(key=lambda one: (NETWORKS.index(one["model"]), one["threads"]))
            options.out.write_text(json.dumps(document, indent=1) + "\n")
    if options.chart and document["results"]:
        report.chart(document, options.chart)
    tables = [report.table(document), report.memory_table(document), report.agreement_table(document)]
    print(json.dumps(document) if options.json else "\n\n".join(tables))


if __name__ == "__main__":
    main()
