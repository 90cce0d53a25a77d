#!/usr/bin/env python3
"""Writes a small network on eight bits as another tool's quantizer does, and what `exporter quantize --model` needs beside.

usage: came_quantized.py DIR [--network convolutions|tokens] [--by onnxruntime|nncf|pytorch-fx|pytorch-pt2e]

    DIR/float.onnx      drawn from a seed; of PyTorch's quantizer, PyTorch's own export
    DIR/model.onnx      QuantizeLinear, DequantizeLinear, by the tool
    DIR/model.toml      what input and outputs mean
    DIR/pictures/       twelve drawn pictures, which calibrated

The test takes ONNX Runtime's; the others need packages that it does without (`exporter/docs/foreign.md` has the commands).
"""

import argparse
import struct
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, LABELS, MEAN, DEVIATION = 32, 5, 0.5, 0.25
MODEL = """
name = "theirs"

[input]
mean = 0.5
deviation = 0.25

[[outputs]]
kind = "findings"
activation = "sigmoid"
labels = ["a", "b", "c", "d", "e"]
"""


def pictures(folder, count=12):
    """Smooth drawn pictures as PNG files, and as a network is given them."""
    folder.mkdir(exist_ok=True)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    inputs = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        waves = sum(np.sin(rng.normal(0, 8) * x + rng.normal(0, 8) * y + rng.normal(0, 3)) for _ in range(5))
        grey = np.clip(np.rint(127 + 35 * waves + 6 * rng.normal(size=x.shape)), 0, 255).astype(np.uint8)
        (folder / f"{seed:02}.png").write_bytes(png(grey))
        inputs.append(((grey / np.float32(255) - np.float32(MEAN)) / np.float32(DEVIATION)).astype(np.float32)[None, None])
    return inputs


def png(grey):
    """Eight bits, grey."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Net:
    """An ONNX graph written down node by node, its weights drawn."""

    def __init__(self):
        self.rng, self.nodes, self.constants = np.random.default_rng(3), [], []

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def drawn(self, shape, fan_in):
        return self.constant((self.rng.normal(size=shape) * np.sqrt(2 / fan_in)).astype(np.float32))

    def node(self, op, *inputs, outputs=1, **attributes):
        names = [f"{op.lower()}.{len(self.nodes)}" + ("" if outputs == 1 else f".{at}") for at in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, f"{op.lower()}.{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x, i, o, k, stride=1, groups=1):
        inputs = [x, self.drawn((o, i // groups, k, k), i // groups * k * k), self.drawn((o,), 50)]
        return self.node("Conv", *inputs, strides=[stride] * 2, pads=[k // 2] * 4, group=groups)

    def linear(self, x, i, o):
        return self.node("Add", self.node("MatMul", x, self.drawn((i, o), i)), self.drawn((o,), 50))

    def finish(self, output, path):
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, SIDE, SIDE])
        scores = helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, LABELS])
        graph = helper.make_graph(self.nodes, "small", [image], [scores], self.constants)
        opsets = [helper.make_opsetid("", 17)]
        onnx.save(onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=9)), path)


def convolutions(path):
    """What a convolutional network is made of: residuals, depthwise, gates, pools, joins."""
    net = Net()
    stem = net.node("Relu", net.conv("image", 1, 8, 3, stride=2))
    deep = net.node("HardSwish", net.conv(stem, 8, 8, 3, groups=8))
    x = net.node("Relu", net.node("Add", net.conv(deep, 8, 8, 1), stem))
    squeezed = net.node("Relu", net.conv(net.node("GlobalAveragePool", x), 8, 4, 1))
    x = net.node("Mul", x, net.node("Sigmoid", net.conv(squeezed, 4, 8, 1)))
    halves = [net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])]
    halves.append(net.node("AveragePool", net.conv(x, 8, 8, 3), kernel_shape=[2, 2], strides=[2, 2]))
    x = net.node("Relu", net.conv(net.node("Concat", *halves, axis=1), 16, 16, 3))
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    net.finish(net.node("Gemm", x, net.drawn((LABELS, 16), 16), net.drawn((LABELS,), 50), transB=1), path)


def normalised(net, x, width):
    """With constants of its own: of shared ones ONNX Runtime's quantizer makes a file that ONNX Runtime does not load."""
    gain, bias = (net.constant((one + net.rng.normal(size=width) / 4).astype(np.float32)) for one in (1, 0))
    return net.node("LayerNormalization", x, gain, bias, axis=-1, epsilon=1e-6)


def tokens(path):
    """A block of a vision transformer, as PyTorch exports one."""
    net, (n, width, heads) = Net(), (16, 24, 3)
    d, shape = width // heads, lambda *sides: net.constant(np.array(sides, np.int64))
    patches = net.node("Conv", "image", net.drawn((width, 1, 8, 8), 64), net.drawn((width,), 50), strides=[8, 8])
    x = net.node("Transpose", net.node("Reshape", patches, shape(1, width, n)), perm=[0, 2, 1])
    x = net.node("Add", x, net.drawn((1, n, width), 4))
    rows = normalised(net, x, width)

    def split(order):
        own = net.node("Reshape", net.linear(rows, width, width), shape(1, n, heads, d))
        return net.node("Transpose", own, perm=order)

    q, k, v = split([0, 2, 1, 3]), split([0, 2, 3, 1]), split([0, 2, 1, 3])
    scores = net.node("Mul", net.node("MatMul", q, k), net.constant(np.float32(d**-0.5)))
    answers = net.node("MatMul", net.node("Softmax", scores, axis=-1), v)
    merged = net.node("Reshape", net.node("Transpose", answers, perm=[0, 2, 1, 3]), shape(1, n, width))
    x = net.node("Add", x, net.linear(merged, width, width))
    rows = normalised(net, x, width)
    wide = net.linear(rows, width, 4 * width)
    half, root = (net.constant(np.float32(number)) for number in (0.5, np.sqrt(2)))
    erf = net.node("Add", net.node("Erf", net.node("Div", wide, root)), net.constant(np.float32(1)))
    gelu = net.node("Mul", net.node("Mul", wide, erf), half)
    x = net.node("Add", x, net.linear(gelu, 4 * width, width))
    mean = net.node("ReduceMean", x, axes=[1], keepdims=0)
    net.finish(net.node("Gemm", mean, net.drawn((LABELS, width), width), net.drawn((LABELS,), 50), transB=1), path)


def by_onnxruntime(source, out, inputs):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        left = iter(inputs)

        def get_next(self):
            image = next(self.left, None)
            return None if image is None else {"image": image}

    prepared = str(out.with_suffix(".prepared.onnx"))
    quant_pre_process(str(source), prepared, skip_symbolic_shape=True)
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(prepared, str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)


def by_nncf(source, out, inputs):
    import nncf

    dataset = nncf.Dataset([{"image": image} for image in inputs])
    onnx.save(nncf.quantize(onnx.load(source), dataset, subset_size=len(inputs)), out)


def pytorch_network():
    """[`convolutions`] as PyTorch has it, so far as its quantizer takes it."""
    import torch
    from torch import nn

    torch.manual_seed(3)

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
            self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1))
            self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1))
            self.gate, self.pool, self.after = nn.Sigmoid(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, 2, 1)
            self.last, self.relu = nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU()
            self.mean, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(16, LABELS)

        def forward(self, image):
            x = self.stem(image)
            x = self.relu(self.deep(x) + x)
            x = x * self.gate(self.squeeze(x))
            x = self.relu(self.last(torch.cat([self.pool(x), self.after(x)], 1)))
            return self.head(self.mean(x).flatten(1))

    return Small().eval()


def by_pytorch_fx(source, out, inputs):
    import torch
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.backends.quantized.engine = "fbgemm"
    images = [torch.from_numpy(image) for image in inputs]
    network = pytorch_network()
    torch.onnx.export(network, images[0], source, input_names=["image"], opset_version=17, dynamo=False)
    prepared = prepare_fx(network, get_default_qconfig_mapping("fbgemm"), (images[0],))
    for image in images:
        prepared(image)
    torch.onnx.export(convert_fx(prepared), images[0], out, input_names=["image"], opset_version=17, dynamo=False)


def by_pytorch_pt2e(source, out, inputs):
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    images = [torch.from_numpy(image) for image in inputs]
    network = pytorch_network()
    torch.onnx.export(network, images[0], source, input_names=["image"], opset_version=17, dynamo=False)
    # The quantizer finds layers by what only `strict` notes down; without it nothing is quantized.
    traced = torch.export.export(network, (images[0],), strict=True).module()
    prepared = prepare_pt2e(traced, x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config()))
    for image in images:
        prepared(image)
    torch.onnx.export(convert_pt2e(prepared), (images[0],), out, input_names=["image"], dynamo=True, external_data=False)


TOOLS = {"onnxruntime": by_onnxruntime, "nncf": by_nncf, "pytorch-fx": by_pytorch_fx, "pytorch-pt2e": by_pytorch_pt2e}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=["convolutions", "tokens"], default="convolutions")
    parser.add_argument("--by", choices=TOOLS, default="onnxruntime")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    source, out = arguments.folder / "float.onnx", arguments.folder / "model.onnx"
    (arguments.folder / "model.toml").write_text(MODEL)
    inputs = pictures(arguments.folder / "pictures")
    if not arguments.by.startswith("pytorch"):
        {"convolutions": convolutions, "tokens": tokens}[arguments.network](source)
    TOOLS[arguments.by](source, out, inputs)


if __name__ == "__main__":
    main()
