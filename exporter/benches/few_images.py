#!/usr/bin/env python3
"""What a method for ranges is worth when one picture chooses it, beside `--observer auto`.

    python3 -m venv zoo && zoo/bin/pip install -r exporter/benches/zoo-requirements.txt
    cargo build -p exporter
    zoo/bin/python exporter/benches/few_images.py ../shared/data/cxr-mini/images

A DenseNet-121 of random weights (`zoo.py`'s, one channel, 96x96) and nine radiographs of the folder, spread evenly over
its sorted files. Three questions:

    all nine calibrate        every method's outputs on each picture: noise of rounding over signal
    one is held out           eight calibrate, the ninth chooses the method; each picture in turn
    auto                      the exporter's own choice, on all nine

Decibels are of the mean of noise over signal, as the exporter compares candidates. The outputs are ONNX Runtime's, of the
float file and of the file in int8.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from zoo import ROOT, drawn, networks
from zoo_int8 import DEVIATION, MEAN, Network

NETWORK, SIDE = "xrv-densenet121", 96
METHODS = ["minmax", "moving-average", "percentile", "entropy", "mse", "image-mse"]


def decibels(noise_over_signal) -> float:
    return float(-10 * np.log10(np.mean(noise_over_signal)))


class Experiment:
    def __init__(self, exporter: Path, model: Path, folder: Path, files: list[Path]):
        self.exporter, self.model, self.folder = exporter, model, folder
        self.pictures, self.inputs = [], []
        for at, file in enumerate(files):
            self.add(at, file)
        self.expected = self.outputs(model)

    def add(self, at: int, file: Path) -> None:
        """Grey values of the network's size, so that nobody resizes them again."""
        from PIL import Image

        grey = Image.open(file).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        self.pictures.append(self.folder / f"{at}.png")
        grey.save(self.pictures[-1])
        self.inputs.append(((np.asarray(grey) / 255 - MEAN) / DEVIATION).astype(np.float32)[None, None])

    def outputs(self, file: Path) -> list[np.ndarray]:
        return [np.concatenate([value.ravel() for value in found.values()]) for found in Network(file).outputs(self.inputs)]

    def quantized(self, method: str, calibrate: list[int]) -> tuple[np.ndarray, str]:
        """Noise over signal of each picture's outputs, and what the exporter says of its choice."""
        with tempfile.TemporaryDirectory() as place:
            place = Path(place)
            for at in calibrate:
                (place / f"{at}.png").symlink_to(self.pictures[at])
            command = [self.exporter, "quantize", "--int8", "--model", self.model, "--observer", method, "--json"]
            command += ["--normalise", f"{MEAN},{DEVIATION}", "--calibration", place, "--out", place / "int8.onnx"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{method}: {done.stderr.strip()}")
            found = self.outputs(place / "int8.onnx")
        noise = [((a - b) ** 2).sum() / (a**2).sum() for a, b in zip(self.expected, found)]
        return np.array(noise), json.loads(done.stdout)["observer"]


def run(experiment: Experiment, judges: int) -> dict:
    everyone = list(range(len(experiment.pictures)))
    rows = {"methods": {}, "held_out": []}
    for method in [*METHODS, "auto"]:
        noise, why = experiment.quantized(method, everyone)
        rows["methods"][method] = {"db": decibels(noise), "each_db": [decibels(one) for one in noise], "why": why}
        tell(f"{method:16} {decibels(noise):5.1f} dB; each picture {' '.join(f'{decibels(one):.1f}' for one in sorted(noise)[::-1])}")
    tell(f"auto chose: {rows['methods']['auto']['why']}\n")
    for judge in everyone[:judges]:
        others = [at for at in everyone if at != judge]
        found = {method: experiment.quantized(method, others)[0] for method in METHODS}
        chosen = min(METHODS, key=lambda method: found[method][judge])
        row = {"judge": judge, "chosen": chosen, "judge_db": decibels(found[chosen][judge])}
        row |= {"db": decibels(found[chosen]), "each_db": [decibels(one) for one in found[chosen]]}
        row |= {f"{method}_db": decibels(noise) for method, noise in found.items()}
        rows["held_out"].append(row)
        rest = ", ".join(f"{method} {row[f'{method}_db']:.1f}" for method in METHODS)
        tell(f"picture {judge} chooses {chosen:14} its own {row['judge_db']:.1f} dB, all {row['db']:.1f} dB; all by {rest}")
    return rows


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", type=Path, help="a folder of JPEG or PNG radiographs")
    parser.add_argument("--count", type=int, default=9, help="radiographs (default 9; 9 to 39, or `auto` holds some out itself)")
    parser.add_argument("--judges", type=int, help="how many of them are held out, from the first on (default all)")
    parser.add_argument("--exporter", type=Path, default=ROOT / "target/debug/exporter")
    arguments = parser.parse_args()
    files = sorted(file for file in arguments.images.iterdir() if file.suffix in (".jpg", ".jpeg", ".png"))
    if not 9 <= arguments.count <= min(39, len(files)):
        parser.error(f"{arguments.count} of {len(files)} radiographs, expected 9 to 39")
    files = [files[at * len(files) // arguments.count] for at in range(arguments.count)]
    tell("pictures: " + " ".join(file.name for file in files))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make, channels = networks()[NETWORK]
        network = drawn(make, channels, SIDE)
        torch.onnx.export(network, (torch.zeros(1, channels, SIDE, SIDE),), str(folder / "float.onnx"), dynamo=False, opset_version=17)
        experiment = Experiment(arguments.exporter, folder / "float.onnx", folder, files)
        print(json.dumps({"pictures": [file.name for file in files], **run(experiment, arguments.count if arguments.judges is None else arguments.judges)}, indent=1))


if __name__ == "__main__":
    main()
