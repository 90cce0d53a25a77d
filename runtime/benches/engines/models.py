"""The networks that are timed: random weights, calibrated and written as int8 ONNX by our `exporter`.

Speed does not depend on what a network has learned, so the weights are drawn from a seed: He's initialisation,
residual branches damped so that activations stay finite through fifty layers.
"""

import json
import struct
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 224

#: name -> backbone, task of its head, labels
NETWORKS = {
    "resnet50": ("resnet50", "classification", ["Atelectasis", "Cardiomegaly", "Effusion", "Pneumonia", "Pneumothorax"]),
    "resnet18": ("resnet18", "classification", ["Atelectasis", "Cardiomegaly", "Effusion", "Pneumonia", "Pneumothorax"]),
    "segmentation": ("resnet18", "segmentation", ["Lung", "Heart"]),
    "detection": ("resnet18", "detection", ["Opacity", "Nodule"]),
}


def onnx_file(name: str, folder: Path, exporter: Path) -> Path:
    """`folder/name.onnx`, made if it is not there yet."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        checkpoint, pictures = folder / f"{name}.checkpoint", folder / "pictures"
        write_checkpoint(name, checkpoint)
        write_pictures(pictures)
        command = [exporter, "onnx", "--int8", "--checkpoint", checkpoint, "--calibration", pictures, "--observer", "minmax", "--out", path, "-q"]
        subprocess.run(command, check=True)
    return path


def image() -> np.ndarray:
    """The input every engine is timed with, [1, 1, 224, 224]."""
    noise = np.random.default_rng(7)
    blobs = np.kron(noise.standard_normal((1, 1, 14, 14)), np.ones((1, 1, 16, 16)))
    return (0.7 * blobs + 0.2 * noise.standard_normal((1, 1, SIDE, SIDE))).astype(np.float32)


def write_checkpoint(name: str, folder: Path) -> None:
    backbone, task, labels = NETWORKS[name]
    folder.mkdir(parents=True, exist_ok=True)
    quoted = ", ".join(f'"{label}"' for label in labels)
    (folder / "config.toml").write_text(
        f'[model]\nbackbone = "{backbone}"\npool = "mean"\n\n[[model.heads]]\ntask = "{task}"\nlabels = [{quoted}]\n\n'
        f"[preprocess]\nheight = {SIDE}\nwidth = {SIDE}\nmean = 0.4755\nstd = 0.3011\n"
    )
    (folder / "state.json").write_text('{"step": 0, "epoch": 0, "finished": true}')
    (folder / "model.safetensors").write_bytes(safetensors(Weights(50 if backbone == "resnet50" else 18, task, len(labels)).tensors))


def write_pictures(folder: Path) -> None:
    """Eight smooth random pictures to calibrate on."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(3)
    for at in range(8):
        coarse = Image.fromarray(noise.integers(0, 256, (14, 14), dtype=np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{at}.png")


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    header, at = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(values.tobytes() for values in tensors.values())


class Weights:
    """Parameters under the names of `exporter/graph`; the exporter refuses any that is missing or misshapen."""

    def __init__(self, depth: int, task: str, labels: int):
        self.tensors: dict[str, np.ndarray] = {}
        self.noise = np.random.default_rng(depth)
        bottleneck = depth == 50
        self.conv_bn("conv1", "bn1", 1, 64, 7)
        features, channels = [64], 64
        for stage, blocks in enumerate([3, 4, 6, 3] if bottleneck else [2, 2, 2, 2]):
            width = 64 << stage
            out = width * (4 if bottleneck else 1)
            for block in range(blocks):
                self.block(f"layer{stage + 1}.{block}", channels, width, out, bottleneck, block == 0 and (stage > 0 or bottleneck))
                channels = out
            features.append(channels)
        getattr(self, task)(features, labels)

    def conv_bn(self, conv: str, norm: str, i: int, o: int, kernel: int, gain: float = 1.0) -> None:
        self.kernel(conv, (o, i, kernel, kernel))
        for name, value in (("weight", gain), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.tensors[f"{norm}.{name}"] = np.full(o, value, np.float32)

    def kernel(self, name: str, shape: tuple[int, ...], bias: bool = False) -> None:
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        self.tensors[f"{name}.weight"] = (self.noise.standard_normal(shape) * deviation).astype(np.float32)
        if bias:
            self.tensors[f"{name}.bias"] = np.zeros(shape[0], np.float32)

    def block(self, name: str, i: int, width: int, o: int, bottleneck: bool, shortcut: bool) -> None:
        steps = [(i, width, 1), (width, width, 3), (width, o, 1)] if bottleneck else [(i, width, 3), (width, o, 3)]
        for at, (a, b, kernel) in enumerate(steps, 1):
            self.conv_bn(f"{name}.conv{at}", f"{name}.bn{at}", a, b, kernel, 0.35 if at == len(steps) else 1.0)
        if shortcut:
            self.conv_bn(f"{name}.downsample.0", f"{name}.downsample.1", i, o, 1, 0.7)

    def classification(self, features: list[int], labels: int) -> None:
        self.kernel("fc", (labels, features[4]), bias=True)

    def segmentation(self, features: list[int], labels: int) -> None:
        width, channels = features[0], features[4]
        for level, out in ((3, 2 * width), (2, width), (1, width // 2), (0, width // 4)):
            name = f"seg.{level + 1}"
            self.conv_bn(f"{name}.reduce", f"{name}.bn1", channels, out, 1)
            self.conv_bn(f"{name}.conv", f"{name}.bn2", out + features[level], out, 3)
            channels = out
        self.kernel("seg.out", (labels, channels, 1, 1), bias=True)

    def detection(self, features: list[int], labels: int) -> None:
        width = 2 * features[0]
        for level in (3, 4, 5):
            name = f"det.p{level}"
            self.conv_bn(f"{name}.reduce", f"{name}.bn1", features[level - 1], width, 1)
            self.conv_bn(f"{name}.conv", f"{name}.bn2", width, width, 3)
            self.kernel(f"{name}.out", (labels + 5, width, 1, 1), bias=True)
