#!/usr/bin/env python3
"""The networks of `zoo.py` on eight bits: ours beside ONNX Runtime's quantizer, its engine and OpenVINO, on the same
pictures.

    zoo/bin/python exporter/benches/zoo.py export --forms torchscript
    cargo build -p exporter && cargo build --release -p engine --example alternate
    zoo/bin/python exporter/benches/zoo_int8.py                       every network, one thread
    zoo/bin/python exporter/benches/zoo_int8.py --networks tv-vit_b_16 --threads 1 2 --rounds 9 --json
    zoo/bin/python exporter/benches/zoo_int8.py --form dynamo         files of PyTorch's default exporter
    zoo/bin/python exporter/benches/zoo_int8.py --time zoo.jsonl      all that zoo.jsonl lacks, one and two threads: the
                                                                      table for `exporter/docs/foreign-networks.md`
    zoo/bin/python exporter/benches/zoo_int8.py --time zoo.jsonl --prepared files    the same from files quantized before

A network is quantized by `exporter quantize --int8 --model` and by `quantize_static` (QDQ, u8 and s8, a scale for each
channel of weights, after `quant_pre_process`), both on 16 pictures of noise, both with the smallest and the largest value
as range. Noise, because the networks' batch statistics are of noise. OpenVINO runs the file of ONNX Runtime's quantizer.

    share    multiplications on integers in our engine
    SQNR     of the worst output on 8 other pictures: ours in our engine, theirs in ONNX Runtime
    apart    largest difference between our engine and ONNX Runtime on our file, over the largest output
    steps    most steps between a code of ours and ONNX Runtime's, and the share of codes that differ: operator by operator,
             each on our codes of one picture (`tests/oracles/onnx_qdq.py`), so that no difference grows into another
    ratio    our time over another engine's, each on the file named above; the median of rounds in turns

With `--patience` a round counts only while nobody else uses the processors, as in `runtime/benches/peers.py`; without it
every round counts, and the load stands below the table. `--clock processor` counts the time that each engine had a
processor, which leaves other programs' turns out, not their share of the caches: for one thread on a busy machine. `--time FILE` writes a JSON line for each network as soon as it is
measured, and leaves out those that the file has: stop it and start it again as you like. `--prepared FOLDER` keeps both
quantized files of each network with their figures, and takes them from there while the network's own file is the same; so
quantize on a busy machine (`--rounds 0 --prepared FOLDER`) and time on an idle one. Nothing but the network's file is
compared: give another folder, or empty it, for an exporter of another version.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BENCHES = ROOT / "runtime/benches"
sys.path[:0] = [str(BENCHES), str(ROOT / "tests/oracles")]
SIDE = 224
#: Grey values stand for numbers of mean 0 and deviation 1/2, as the networks' statistics were drawn.
MEAN, DEVIATION = 0.5, 0.25
CALIBRATION, TEST = 16, 8


def pictures(folder: Path, count: int, seed: int) -> list[np.ndarray]:
    """Noise as PNG files; returns what a network is given, `[1, 1, SIDE, SIDE]`."""
    from PIL import Image

    random = np.random.default_rng(seed)
    folder.mkdir()
    inputs = []
    for at in range(count):
        noise = 255 * (MEAN + DEVIATION * 0.5 * random.standard_normal((SIDE, SIDE)))
        grey = np.clip(np.rint(noise), 0, 255)
        Image.fromarray(grey.astype(np.uint8)).save(folder / f"{at:02}.png")
        inputs.append(((grey / 255 - MEAN) / DEVIATION).astype(np.float32)[None, None])
    return inputs


class Network:
    """A file in ONNX Runtime, every sum exact."""

    def __init__(self, file: Path):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.x64quantprecision", "1")
        self.session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.input, self.channels = self.session.get_inputs()[0].name, self.session.get_inputs()[0].shape[1]
        self.names = [output.name for output in self.session.get_outputs()]

    def feed(self, image: np.ndarray) -> dict:
        return {self.input: np.repeat(image, self.channels, axis=1)}

    def outputs(self, images) -> list[dict]:
        return [dict(zip(self.names, self.session.run(None, self.feed(image)))) for image in images]


def own_constants(file: Path, out: Path) -> None:
    """A constant of its own for each use: PyTorch's exporters share equal ones, by `Identity` or by name, and of those
    ONNX Runtime's quantizer makes a file that ONNX Runtime does not load."""
    import onnx

    model = onnx.load(file)
    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "Identity" and node.input[0] in constants]:
        constants[node.output[0]] = constants[node.input[0]]
        model.graph.node.remove(node)
    del model.graph.initializer[:]
    uses = ((node, at, name) for node in model.graph.node for at, name in enumerate(node.input) if name in constants)
    for number, (node, at, name) in enumerate(uses):
        node.input[at] = f"{name}.{number}"
        copy = model.graph.initializer.add()
        copy.CopyFrom(constants[name])
        copy.name = node.input[at]
    onnx.save(model, out)


def by_onnxruntime(file: Path, out: Path, images) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    def quantize(source: Path) -> None:
        network = Network(source)

        class Reader(CalibrationDataReader):
            left = iter([network.feed(image) for image in images])

            def get_next(self):
                return next(self.left, None)

        kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(str(source), str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
        Network(out)

    prepared = out.with_suffix(".prepared.onnx")
    own_constants(file, prepared)
    quant_pre_process(str(prepared), str(prepared), skip_symbolic_shape=True)
    try:
        quantize(prepared)
    except Exception as error:  # of some transformers it makes a file that it does not load
        print(f"{file.name}: without quant_pre_process: {str(error)[:100]}", file=sys.stderr)
        quantize(file)
    prepared.unlink()


def by_us(arguments, file: Path, out: Path, images: Path) -> dict:
    command = [arguments.exporter, "quantize", "--int8", "--model", file, "--observer", "minmax", "--json"]
    command += ["--normalise", f"{MEAN},{DEVIATION}", "--calibration", images, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError((done.stderr.strip().splitlines() or ["no word"])[-1])
    return json.loads(done.stdout)


def in_our_engine(arguments, file: Path, fed: list[np.ndarray], raw: Path) -> list[dict]:
    from peers import Worker

    found = []
    fed[0].tofile(raw)
    worker = Worker("ours", [arguments.ours, file, 1, raw], None)
    for image in fed:
        image.tofile(raw)
        answer = json.loads(worker.ask(f"outputs {raw}"))
        found.append({name: np.array(value, np.float32) for name, value in answer.items()})
    worker.close()
    return found


def steps(arguments, file: Path, raw: Path, folder: Path) -> dict:
    """Of our codes on the picture in `raw`."""
    import onnx
    from onnx_qdq import Picture

    subprocess.run([arguments.exporter, "dump", file, raw, "--out", folder], check=True, stdout=subprocess.DEVNULL)
    model = onnx.load(file)
    picture = Picture(folder / "0", model)
    found = picture.steps(picture.onnxruntimes(model))
    shutil.rmtree(folder)
    most = {name: int(of.max()) for name, of in found.items()}
    differ = sum(int((of > 0).sum()) for of in found.values())
    far = {name: steps for name, steps in most.items() if steps > 1}
    return {"steps": max(most.values()), "differ": differ / sum(of.size for of in found.values()), "far": far}


def decibels(expected: list[dict], found: list[dict]) -> float:
    """Signal over noise of the worst output."""
    worst = float("inf")
    for name in expected[0]:
        a = np.concatenate([one[name].ravel() for one in expected])
        b = np.concatenate([one[name].ravel() for one in found])
        signal, noise = (a**2).sum(), max(((a - b) ** 2).sum(), 1e-30)
        worst = min(worst, 10 * float(np.log10(max(signal, 1e-30) / noise)))
    return worst


def apart(expected: list[dict], found: list[dict]) -> float:
    pairs = [(a[name].ravel(), b[name].ravel()) for a, b in zip(expected, found) for name in a]
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-9)) for a, b in pairs)


def times(arguments, threads: int, ours: Path, theirs: Path, raw: Path) -> dict:
    """The engines take turns."""
    from peers import Worker, take_rounds, turn

    workers = [Worker("ours", [arguments.ours, ours, threads, raw], None)]
    try:
        for engine in arguments.engines:
            command = [sys.executable, BENCHES / "engines/worker.py", engine, theirs, threads, raw]
            workers.append(Worker(engine, command, None))
        counts = {worker.engine: turn(worker) for worker in workers}
        if arguments.patience:
            rounds, dropped = take_rounds(ours.name, threads, workers, counts, arguments)
            if not rounds:
                raise ValueError(f"no idle round in {arguments.patience:.0f} s")
        else:
            took = processor_time if arguments.clock == "processor" else wall_time
            rounds, dropped = [in_turns(workers, counts, at, took) for at in range(arguments.rounds)], 0
    finally:
        for worker in workers:
            worker.close()
    found = {"rounds": len(rounds), "dropped": dropped, "clock": arguments.clock, "load": os.getloadavg()[0], "isa": workers[0].greeting[-1].rpartition(", ")[2]}
    for worker in workers:
        found[f"{worker.engine}_ms"] = statistics.median(one[worker.engine] for one in rounds)
    for engine in arguments.engines:
        found[f"/ {engine}"] = statistics.median(one["ours"] / one[engine] for one in rounds)
    found["/ faster"] = statistics.median(one["ours"] / min(one[engine] for engine in arguments.engines) for one in rounds)
    return found


def in_turns(workers, counts: dict, at: int, took) -> dict:
    at %= len(workers)
    return {worker.engine: took(worker, counts[worker.engine]) for worker in workers[at:] + workers[:at]}


def wall_time(worker, count: int) -> float:
    return statistics.median(worker.latencies(count))


def processor_time(worker, count: int) -> float:
    from engines.machine import processor_ms

    before = processor_ms(worker.process.pid)
    worker.latencies(count)
    return (processor_ms(worker.process.pid) - before) / count


def prepare(arguments, name: str, folder: Path, calibration, test) -> tuple[dict, Path, Path]:
    """Figures of a network, and the files that both quantizers made of it."""
    file = arguments.folder / f"{name}.{arguments.form}.onnx"
    kept = arguments.prepared or folder
    ours, theirs, figures = (kept / f"{name}.{arguments.form}.{end}" for end in ("ours.onnx", "theirs.onnx", "json"))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if figures.exists() and (found := json.loads(figures.read_text()))["sha256"] == digest:
        return found["row"], ours, theirs
    share = by_us(arguments, file, ours, folder / "calibration")["integer_share"]
    row = {"network": name, "share": share["integer_macs"] / max(share["integer_macs"] + share["float_macs"], 1)}
    network = Network(file)
    fed = [network.feed(image)[network.input] for image in test]
    exact, found = network.outputs(test), in_our_engine(arguments, ours, fed, folder / "image.f32")
    row |= {"sqnr": decibels(exact, found), "apart": apart(Network(ours).outputs(test), found)}
    row |= steps(arguments, ours, folder / "image.f32", folder / "dump")
    by_onnxruntime(file, theirs, calibration)
    row["sqnr_onnxruntime"] = decibels(exact, Network(theirs).outputs(test))
    figures.write_text(json.dumps({"sha256": digest, "row": row}))
    return row, ours, theirs


def measure(arguments, name: str, folder: Path, calibration, test) -> dict:
    row, ours, theirs = prepare(arguments, name, folder, calibration, test)
    if arguments.rounds:
        raw = folder / "image.f32"
        np.repeat(test[0], Network(ours).channels, axis=1).tofile(raw)
        row = row | {"times": {str(threads): times(arguments, threads, ours, theirs, raw) for threads in arguments.threads}}
    if not arguments.prepared:
        ours.unlink()
        theirs.unlink()
    return row


def told(row: dict) -> str:
    if "failed" in row:
        return f"{row['network']:24} {row['failed']}"
    noise = f"SQNR {row['sqnr']:5.1f} | {row['sqnr_onnxruntime']:5.1f} dB"
    line = f"{row['network']:24} share {row['share']:.4f}  {noise}  apart {row['apart']:.1e}"
    line += f"  steps {row['steps']} ({row['differ']:.1e})"
    for threads, found in row.get("times", {}).items():
        ratios = "".join(f"  {name} {value:.2f}" for name, value in found.items() if name.startswith("/"))
        line += f"  {threads}T {found['ours_ms']:.2f} ms{ratios}"
    return line


def table(rows: list[dict], engines: list[str]) -> str:
    """Markdown: accuracy, then our milliseconds and the ratios for each number of threads, and their medians and largest."""
    timed = sorted((row for row in rows if "times" in row), key=lambda row: row["network"])
    threads = sorted({count for row in timed for count in row["times"]}, key=int)
    names = [f"/ {engine}" for engine in [*engines, *(["faster"] if len(engines) > 1 else [])]]
    accuracy = ["network", "ours", "ONNX Runtime", "apart", "steps", "differ"]
    heads = [*accuracy, *(head for count in threads for head in [f"{count}T: ours, ms", *names])]
    columns = [(count, name) for count in threads for name in ["ours_ms", *names]]
    lines = []
    for row in timed:
        noise = [f"{row['sqnr']:.1f}", f"{row['sqnr_onnxruntime']:.1f}", f"{row['apart']:.1e}", str(row["steps"]), f"{row['differ']:.1e}"]
        times = [row["times"][count] for count, _ in columns]
        lines.append([row["network"], *noise, *(f"{of[name]:.{1 + (name in names)}f}" for of, (_, name) in zip(times, columns))])
    for word, summary in (("median", statistics.median), ("largest", max)) if timed else ():
        values = [summary(row["times"][count][name] for row in timed) if name in names else None for count, name in columns]
        lines.append([word, *[""] * 5, *("" if value is None else f"{value:.2f}" for value in values)])
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, ["---"] * len(heads), *lines])


def measured(path: Path, threads: list[int], engines: list[str]) -> list[dict]:
    """Rows of a file of lines that have all that is asked for; of a network the last one."""
    rows = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        row = json.loads(line)
        whole = all(f"/ {engine}" in row.get("times", {}).get(str(count), {}) for count in threads for engine in engines)
        if whole:
            rows[row["network"]] = row
    return list(rows.values())


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "target/zoo", help="what `zoo.py export` made (default target/zoo)")
    parser.add_argument("--networks", nargs="+", help="some of them (default: all)")
    parser.add_argument("--form", choices=["torchscript", "dynamo"], default="torchscript", help="which exporter of PyTorch wrote them")
    parser.add_argument("--threads", nargs="+", type=int, help="default 1, with --time 1 and 2")
    parser.add_argument("--engines", nargs="+", choices=["onnxruntime", "onnxruntime-exact", "openvino"], default=["onnxruntime", "openvino"])
    parser.add_argument("--rounds", type=int, default=7, help="turns that are timed; 0: no times (default 7)")
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall", help="what is measured (default wall)")
    parser.add_argument("--patience", type=float, default=0, help="seconds to wait in all for an idle machine, for each time")
    parser.add_argument("--time", type=Path, metavar="FILE", help="a JSON line a network, resumed where the file ends; prints the table")
    parser.add_argument("--prepared", type=Path, metavar="FOLDER", help="where quantized files are kept, and taken from (default: nowhere)")
    parser.add_argument("--exporter", type=Path, default=ROOT / "target/debug/exporter")
    parser.add_argument("--ours", type=Path, default=ROOT / "target/release/examples/alternate")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    arguments.threads = arguments.threads or ([1, 2] if arguments.time else [1])
    if arguments.clock == "processor" and (arguments.patience or arguments.threads != [1]):
        parser.error("--clock processor is for --threads 1 without --patience: a thread that waits uses a processor, too")
    if arguments.time and not arguments.rounds:
        parser.error("--time needs --rounds")
    for program in (arguments.exporter, arguments.ours):
        if not program.exists():
            parser.error(f"{program} is not there; build it as the top of this file says")
    return arguments


def run(arguments, names: list[str]) -> list[dict]:
    """A row for each network, told as soon as it is there."""
    rows = []
    if arguments.prepared:
        arguments.prepared.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        calibration = pictures(folder / "calibration", CALIBRATION, 1)
        test = pictures(folder / "test", TEST, 2)
        for name in names:
            try:
                rows.append(measure(arguments, name, folder, calibration, test))
            except (Exception, SystemExit) as error:  # one network must not hide the others
                rows.append({"network": name, "failed": str(error).replace("\n", " ")[:300]})
            if arguments.time:
                with arguments.time.open("a") as lines:
                    lines.write(json.dumps(rows[-1]) + "\n")
            if not arguments.json:
                print(told(rows[-1]), flush=True)
    return rows


def main() -> int:
    arguments = arguments_of()
    known = sorted(file.name.removesuffix(f".{arguments.form}.onnx") for file in arguments.folder.glob(f"*.{arguments.form}.onnx"))
    names = arguments.networks or known
    earlier = measured(arguments.time, arguments.threads, arguments.engines) if arguments.time else []
    earlier = [row for row in earlier if row["network"] in names]
    missing = set(names) - {row["network"] for row in earlier}
    rows = earlier + run(arguments, [name for name in names if name in missing])
    good = [row for row in rows if "failed" not in row]
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "load": os.getloadavg()[0], "rows": rows}, indent=1))
    else:
        if arguments.rounds:
            print(table(good, arguments.engines))
        print(f"{len(good)} of {len(rows)} run; load {os.getloadavg()[0]:.1f}")
    far = [row for row in good if row["far"]]
    for row in far:
        print(f"{row['network']}: more than a step from ONNX Runtime: {row['far']}", file=sys.stderr)
    return 0 if rows and len(good) == len(rows) and not far else 1


if __name__ == "__main__":
    sys.exit(main())
