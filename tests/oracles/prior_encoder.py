#!/usr/bin/env python3
"""A checkpoint of PRIOR's image encoder at its published size with drawn weights: ResNet-50 and CLIP's attention pool.

usage: prior_encoder.py OUT [--size 224] [--width 64] [--sharp 0.35] [--seed 0]

Convolutions as He draws them, normalisations with gains and shifts of their own per channel, the pool's projections as
PyTorch draws linear layers, queries and keys `--sharp` times as large each: its features are large, so that at 1 one
token takes all. What it sees is noise, but its activations have the shapes, depths and outliers that int8 has to cope
with. OUT is a checkpoint folder as `trainer` writes it.
"""

import argparse
import json
import pathlib

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--width", type=int, default=64)
parser.add_argument("--sharp", type=float, default=0.35)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

random = np.random.default_rng(args.seed)
tensors = {}


def normal(shape, deviation):
    return (random.standard_normal(shape) * deviation).astype(np.float32)


def conv_bn(conv, bn, out, into, kernel, gain=1.0):
    tensors[f"{conv}.weight"] = normal((out, into, kernel, kernel), np.sqrt(2 / (into * kernel * kernel)))
    tensors[f"{bn}.weight"] = (gain * random.uniform(0.5, 1.5, out)).astype(np.float32)
    tensors[f"{bn}.bias"] = normal(out, 0.2)
    tensors[f"{bn}.running_mean"] = normal(out, 0.1)
    tensors[f"{bn}.running_var"] = random.uniform(0.5, 2, out).astype(np.float32)


conv_bn("conv1", "bn1", args.width, 1, 7)
channels = args.width
for stage, blocks in enumerate([3, 4, 6, 3]):
    inner, out = args.width << stage, 4 * args.width << stage
    for block in range(blocks):
        name = f"layer{stage + 1}.{block}"
        conv_bn(f"{name}.conv1", f"{name}.bn1", inner, channels, 1)
        conv_bn(f"{name}.conv2", f"{name}.bn2", inner, inner, 3)
        conv_bn(f"{name}.conv3", f"{name}.bn3", out, inner, 1, 0.5)
        if block == 0:
            conv_bn(f"{name}.downsample.0", f"{name}.downsample.1", out, channels, 1)
        channels = out

tokens = (-(-args.size // 32)) ** 2
tensors["attnpool.positional_embedding"] = normal((tokens + 1, channels), channels**-0.5)
for part in "qkvc":
    sharp = args.sharp if part in "qk" else 1.0
    bound = channels**-0.5
    weight = random.uniform(-bound, bound, (channels, channels)) * sharp
    tensors[f"attnpool.{part}_proj.weight"] = weight.astype(np.float32)
    tensors[f"attnpool.{part}_proj.bias"] = random.uniform(-bound, bound, channels).astype(np.float32)

header, at = {}, 0
for name in sorted(tensors):
    end = at + tensors[name].nbytes
    header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [at, end]}
    at = end
head = json.dumps(header).encode()
head += b" " * (-len(head) % 8)
args.out.mkdir(parents=True, exist_ok=True)
with open(args.out / "model.safetensors", "wb") as file:
    file.write(len(head).to_bytes(8, "little") + head)
    for name in sorted(tensors):
        file.write(tensors[name].tobytes())
(args.out / "config.toml").write_text(
    f"""[model]
backbone = "resnet50"
width = {args.width}
pool = "attention"

[preprocess]
height = {args.size}
width = {args.size}
mean = 0.4755
std = 0.3011
"""
)
(args.out / "state.json").write_text('{"step":0,"epoch":0,"seed":0}\n')
