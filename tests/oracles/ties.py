"""Writes a QDQ network whose sums lie on ties on purpose, and the picture that meets every one of them.

usage: ties.py DIR      writes DIR/model.onnx and DIR/0/input.npy, [1, 2, 256, 256]: every pair of codes

    image ── Q ─▶ x.q ─┬─ Conv (channel 0) ─▶ a.q ─┬─ Add ─▶ odd.q    scale 2, zero point 1: odd sums are ties
                       │                           ├─ Add ─▶ even.q   scale 2, zero point 128
                       └─ Conv (channel 1) ─▶ b.q ─┴─ Add ─▶ third.q  scale 3, zero point 7: no tie at all
    Conv (0.5 of channel 0) ─▶ half.q                                 scale 1, zero point 3: odd codes are ties
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

nodes, constants, outputs = [], {}, []


def constant(name, value):
    constants[name] = numpy_helper.from_array(value, name)
    return name


def quantize(real, scale, zero):
    """`real` → `real.q` → `real.dq`"""
    parts = [constant(f"{real}.scale", np.float32(scale)), constant(f"{real}.zero", np.uint8(zero))]
    nodes.append(helper.make_node("QuantizeLinear", [real, *parts], [f"{real}.q"], f"{real}.quantize"))
    nodes.append(helper.make_node("DequantizeLinear", [f"{real}.q", *parts], [f"{real}.dq"], f"{real}.dequantize"))


def conv(name, weight, gain, scale, zero):
    """1x1, from the two channels of the picture (scale 1) to one."""
    weights = {"q": np.int8(weight).reshape(1, 2, 1, 1), "scale": np.float32([gain]), "zero": np.int8([0])}
    biases = {"q": np.int32([0]), "scale": np.float32([gain]), "zero": np.int32([0])}
    for of, values in (("weight", weights), ("bias", biases)):
        parts = [constant(f"{name}.{of}.{part}", value) for part, value in values.items()]
        nodes.append(helper.make_node("DequantizeLinear", parts, [f"{name}.{of}.dq"], f"{name}.{of}.dq", axis=0))
    inputs = ["image.dq", f"{name}.weight.dq", f"{name}.bias.dq"]
    nodes.append(helper.make_node("Conv", inputs, [name], name, kernel_shape=[1, 1]))
    quantize(name, scale, zero)


def add(name, scale, zero):
    nodes.append(helper.make_node("Add", ["a.dq", "b.dq"], [name], name))
    quantize(name, scale, zero)
    output(name)


def output(name):
    nodes[-1].output[0] = f"{name}.out"
    outputs.append(helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, [1, 1, 256, 256]))


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    root = pathlib.Path(sys.argv[1])
    quantize("image", 1.0, 0)
    conv("a", [1, 0], 1.0, 1.0, 0)
    conv("b", [0, 1], 1.0, 1.0, 0)
    add("odd", 2.0, 1)
    add("even", 2.0, 128)
    add("third", 3.0, 7)
    conv("half", [1, 0], 0.5, 1.0, 3)
    output("half")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2, 256, 256])
    graph = helper.make_graph(nodes, "ties", [image], outputs, list(constants.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    (root / "0").mkdir(parents=True, exist_ok=True)
    onnx.save(model, root / "model.onnx")
    codes = np.arange(256, dtype=np.float32)
    np.save(root / "0" / "input.npy", np.stack(np.meshgrid(codes, codes, indexing="ij"))[None])


main()
