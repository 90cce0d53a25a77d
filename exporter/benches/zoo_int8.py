#!/usr/bin/env python3
"""The networks of `zoo.py` on eight bits: ours beside ONNX Runtime's quantizer and engine, on the same pictures.

    zoo/bin/python exporter/benches/zoo.py export --forms torchscript
    cargo build -p exporter && cargo build --release -p engine --example alternate
    zoo/bin/python exporter/benches/zoo_int8.py                       every network, one thread
    zoo/bin/python exporter/benches/zoo_int8.py --networks tv-vit_b_16 --threads 2 --rounds 9 --json

A network is quantized by `exporter quantize --int8 --model` and by `quantize_static` (QDQ, u8 and s8, a scale for each
channel of weights, after `quant_pre_process`), both on 16 pictures of noise, both with the smallest and the largest value
as range. Noise, because the networks' batch statistics are of noise.

    share    multiplications on integers in our engine
    SQNR     of the worst output on 8 other pictures: ours in our engine, theirs in ONNX Runtime
    apart    largest difference between our engine and ONNX Runtime on our file, over the largest output
    ratio    our time over ONNX Runtime's, each on the file of its own quantizer; the median of rounds in turns

Nothing waits for an idle machine here, unlike `runtime/benches/peers.py`: the load is printed below the table.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BENCHES = ROOT / "runtime/benches"
sys.path.insert(0, str(BENCHES))
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
    """A constant of its own for each name that PyTorch makes equal by `Identity`: of a shared one ONNX Runtime's quantizer
    makes a file that ONNX Runtime does not load."""
    import onnx

    model = onnx.load(file)
    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "Identity" and node.input[0] in constants]:
        copy = onnx.TensorProto()
        copy.CopyFrom(constants[node.input[0]])
        copy.name = node.output[0]
        constants[copy.name] = copy
        model.graph.initializer.append(copy)
        model.graph.node.remove(node)
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
    for image in fed:
        image.tofile(raw)
        worker = Worker("ours", [arguments.ours, file, 1, raw], None)
        found.append({name: np.array(value, np.float32) for name, value in json.loads(worker.ask("outputs")).items()})
        worker.close()
    return found


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


def times(arguments, ours: Path, theirs: Path, raw: Path) -> dict:
    """Both engines take turns."""
    from peers import Worker, turn

    command = [sys.executable, BENCHES / "engines/worker.py", "onnxruntime", theirs, arguments.threads, raw]
    workers = [Worker("ours", [arguments.ours, ours, arguments.threads, raw], None), Worker("onnxruntime", command, None)]
    counts = [turn(worker) for worker in workers]
    rounds = []
    for at in range(arguments.rounds):
        order = [0, 1] if at % 2 == 0 else [1, 0]
        medians = {which: statistics.median(workers[which].latencies(counts[which])) for which in order}
        rounds.append((medians[0], medians[1]))
    for worker in workers:
        worker.close()
    ratios = [a / b for a, b in rounds]
    ours_ms, theirs_ms = (statistics.median(side) for side in zip(*rounds))
    return {"ours_ms": ours_ms, "onnxruntime_ms": theirs_ms, "ratio": statistics.median(ratios), "ratios": ratios}


def measure(arguments, name: str, folder: Path, calibration, test) -> dict:
    file = arguments.folder / f"{name}.torchscript.onnx"
    ours, theirs, raw = (folder / f"{name}.{end}" for end in ("ours.onnx", "theirs.onnx", "f32"))
    share = by_us(arguments, file, ours, folder / "calibration")["integer_share"]
    row = {"network": name, "share": share["integer_macs"] / max(share["integer_macs"] + share["float_macs"], 1)}
    network = Network(file)
    fed = [network.feed(image)[network.input] for image in test]
    exact, found = network.outputs(test), in_our_engine(arguments, ours, fed, raw)
    row |= {"sqnr": decibels(exact, found), "apart": apart(Network(ours).outputs(test), found)}
    by_onnxruntime(file, theirs, calibration)
    row["sqnr_onnxruntime"] = decibels(exact, Network(theirs).outputs(test))
    if arguments.rounds:
        fed[0].tofile(raw)
        row |= times(arguments, ours, theirs, raw)
    for made in (ours, theirs, raw):
        made.unlink()
    return row


def told(row: dict) -> str:
    if "failed" in row:
        return f"{row['network']:24} {row['failed']}"
    noise = f"SQNR {row['sqnr']:5.1f} | {row['sqnr_onnxruntime']:5.1f} dB"
    line = f"{row['network']:24} share {row['share']:.4f}  {noise}  apart {row['apart']:.1e}"
    if "ratio" in row:
        line += f"  {row['ours_ms']:7.2f} | {row['onnxruntime_ms']:7.2f} ms  ratio {row['ratio']:.2f}"
    return line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "target/zoo", help="what `zoo.py export` made (default target/zoo)")
    parser.add_argument("--networks", nargs="+", help="some of them (default: all)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7, help="turns that are timed; 0: no times (default 7)")
    parser.add_argument("--exporter", type=Path, default=ROOT / "target/debug/exporter")
    parser.add_argument("--ours", type=Path, default=ROOT / "target/release/examples/alternate")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    known = sorted(file.name.removesuffix(".torchscript.onnx") for file in arguments.folder.glob("*.torchscript.onnx"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        calibration = pictures(folder / "calibration", CALIBRATION, 1)
        test = pictures(folder / "test", TEST, 2)
        for name in arguments.networks or known:
            try:
                rows.append(measure(arguments, name, folder, calibration, test))
            except (Exception, SystemExit) as error:  # one network must not hide the others
                rows.append({"network": name, "failed": str(error).replace("\n", " ")[:300]})
            if not arguments.json:
                print(told(rows[-1]), flush=True)
    load = os.getloadavg()[0]
    good = [row for row in rows if "failed" not in row]
    ratios = sorted(row["ratio"] for row in good if "ratio" in row)
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "load": load, "rows": rows}, indent=1))
    else:
        speed = f", median ratio {statistics.median(ratios):.2f}, largest {ratios[-1]:.2f}" if ratios else ""
        print(f"{len(good)} of {len(rows)} run{speed}; load {load:.1f}")
    return 0 if rows and len(good) == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
