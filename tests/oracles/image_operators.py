#!/usr/bin/env python3
"""Draws small QDQ networks of one image operator each and has ONNX Runtime run them.

usage: image_operators.py DIR [SEED [COUNT]]

    DIR/<number>.onnx      image ── Q ── DQ ── operator ── Q ── DQ ─▶ out
    DIR/<number>.f32       the image
    DIR/<number>.codes     what ONNX Runtime's last QuantizeLinear gives, u8
    DIR/cases.txt          a line a case: number, operator, attributes

Scales are as calibration would choose them: the largest value that comes out. ONNX Runtime runs the file as it stands
(no optimization), so every operator computes in float between its DequantizeLinear and QuantizeLinear.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

F = np.float32


class Net:
    def __init__(self, rng, shape):
        self.rng, self.shape = rng, shape
        self.nodes, self.constants, self.outputs = [], [], []

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op, inputs, **attributes):
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], f"{op.lower()}.{len(self.nodes)}", **attributes))
        return name

    def quantized(self, name, scale, zero):
        parts = [self.constant(F(scale)), self.constant(np.uint8(zero))]
        q = self.node("QuantizeLinear", [name, *parts])
        return q, self.node("DequantizeLinear", [q, *parts])

    def model(self, opset, outputs):
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, self.shape)
        outs = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
        graph = helper.make_graph(self.nodes, "one", [image], outs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def session(model):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def pick(rng, values):
    return values[int(rng.integers(len(values)))]


def pool(net, rng, x, op):
    kernel, stride, dilation = [int(k) for k in rng.integers(1, 4, 2)], [int(s) for s in rng.integers(1, 4, 2)], [1, 1]
    if rng.integers(3) == 0:
        dilation = [int(d) for d in rng.integers(1, 3, 2)]
    if dilation == [1, 1]:
        pads = [int(rng.integers(k)) for k in kernel * 2]
    else:
        pads = [int(rng.integers(2)) if k > 1 else 0 for k in kernel * 2]
    attributes = dict(kernel_shape=kernel, strides=stride, dilations=dilation, ceil_mode=int(rng.integers(2)))
    auto = pick(rng, ["NOTSET", "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
    attributes |= dict(pads=pads) if auto == "NOTSET" else dict(auto_pad=auto)
    if auto.startswith("SAME"):
        # Where steps leave pixels out, ONNX Runtime's padding is less than nothing: refused by us, and not drawn.
        attributes |= dict(dilations=[1, 1], ceil_mode=0, strides=[min(s, k + 1, 2) for s, k in zip(stride, kernel)])
    if op == "AveragePool":
        attributes["count_include_pad"] = int(rng.integers(2))
    return net.node(op, [x], **attributes), attributes


def is_near_a_tie(size, scale, to, attributes):
    """Whether some output lies where the last bit of f32 decides which pixel is the nearest: not ours to judge."""
    if float(scale) * 8 % 1 == 0:
        return False  # positions are exact
    x, scale = np.arange(to), float(scale)
    centre = (x + 0.5) / scale - 0.5
    at = {"asymmetric": x / scale, "align_corners": x * (size - 1) / max(to - 1, 1),
          "half_pixel_symmetric": size / 2 * (1 - to / (scale * size)) + centre}.get(attributes["coordinate_transformation_mode"], centre)  # fmt: skip
    return bool((np.abs(at * 2 - np.round(at * 2)) < 1e-4).any())


def resize(net, rng, x):
    while True:
        mark = len(net.nodes), len(net.constants)
        made, attributes = any_resize(net, rng, x)
        if not attributes.pop("tie"):
            return made, attributes
        del net.nodes[mark[0]:], net.constants[mark[1]:]


def any_resize(net, rng, x):
    h, w = net.shape[2:]
    mode = pick(rng, ["nearest", "linear"])
    attributes = dict(mode=mode, coordinate_transformation_mode=pick(
        rng, ["half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric"]))
    if mode == "nearest":
        attributes["nearest_mode"] = pick(rng, ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
    empty = net.constant(np.zeros(0, F))
    if rng.integers(2):
        factors = np.array([1, 1, *(pick(rng, [0.5, 1.0, 2.0, 1.5, 3.0, 2.3]) for _ in range(2))], F)
        tie = any(is_near_a_tie(n, f, int(np.floor(F(n) * f)), attributes) for n, f in zip((h, w), factors[2:]))
        more = dict(scales=factors.tolist(), tie=mode == "nearest" and tie)
        return net.node("Resize", [x, empty, net.constant(factors)], **attributes), attributes | more
    sizes = np.array([1, net.shape[1], int(rng.integers(1, 3 * h)), int(rng.integers(1, 3 * w))], np.int64)
    tie = any(is_near_a_tie(n, F(to) / F(n), int(to), attributes) for n, to in zip((h, w), sizes[2:]))
    more = dict(sizes=sizes.tolist(), tie=mode == "nearest" and tie)
    return net.node("Resize", [x, empty, empty, net.constant(sizes)], **attributes), attributes | more


def pad(net, rng, x):
    mode = pick(rng, ["constant", "edge", "reflect"])
    pads = rng.integers(0, 4, 8)
    pads[[0, 4]] = 0
    if rng.integers(2):
        pads[[1, 5]] = 0
    elif mode == "reflect":
        pads[[1, 5]] = np.minimum(pads[[1, 5]], net.shape[1] - 1)
    if mode == "constant" and rng.integers(3) == 0:
        pads[2] = -1
    inputs = [x, net.constant(pads.astype(np.int64))]
    if mode == "constant" and rng.integers(2):
        inputs.append(net.constant(F(0.7)))
    return net.node("Pad", inputs, mode=mode), dict(mode=mode, pads=pads.tolist())


def normalization(net, rng, x, op):
    c = net.shape[1]
    numbers = lambda lo, hi: net.constant(rng.uniform(lo, hi, c).astype(F))
    inputs, attributes = [x, numbers(-2, 2), numbers(-1, 1)], dict(epsilon=float(F(pick(rng, [1e-5, 1e-3]))))
    if op == "BatchNormalization":
        inputs += [numbers(-1, 1), numbers(0.2, 3)]
    if op == "GroupNormalization":
        attributes["num_groups"] = pick(rng, [g for g in range(1, c + 1) if c % g == 0])
    return net.node(op, inputs, **attributes), attributes


def conv_transpose(net, rng, x):
    c = net.shape[1]
    groups = pick(rng, [g for g in (1, 1, 2, 3) if c % g == 0])
    each, kernel = int(rng.integers(1, 4)), [int(k) for k in rng.integers(1, 5, 2)]
    stride = [int(s) for s in rng.integers(1, 4, 2)]
    dilation = [int(d) for d in rng.integers(1, 3, 2)]
    pads = [int(rng.integers(min(k, 2))) for k in kernel * 2]
    more = [int(rng.integers(s)) for s in stride]
    scale = rng.uniform(0.005, 0.02, each).astype(F)
    weights = [rng.integers(-127, 128, [c, each, *kernel]).astype(np.int8), scale, np.zeros(each, np.int8)]
    x_scale = next(numpy_helper.to_array(t) for t in net.constants if t.name == "c0")
    tiled = np.tile(scale, groups)
    bias = [rng.integers(-3000, 3000, each * groups).astype(np.int32), (x_scale * tiled).astype(F), np.zeros(each * groups, np.int32)]
    if groups > 1:  # int32 scales of a bias must be x_scale times each channel's
        weights[1], weights[2] = scale[:1], np.zeros(1, np.int8)
        weights = [weights[0], weights[1].reshape(()), weights[2].reshape(())]
        bias[1] = np.full(each * groups, x_scale * scale[0], F)
    w = net.node("DequantizeLinear", [net.constant(v) for v in weights], axis=1)
    b = net.node("DequantizeLinear", [net.constant(v) for v in bias], axis=0)
    attributes = dict(group=groups, kernel_shape=kernel, strides=stride, dilations=dilation, pads=pads, output_padding=more)
    return net.node("ConvTranspose", [x, w, b], **attributes), attributes


def combine(net, rng, x, op):
    c, h, w = net.shape[1:]
    sides = pick(rng, [[1, c, 1, 1], [1, 1, h, w], [1, c, h, w]])
    other = x
    if sides != [1, c, h, w]:
        axes = [2, 3] if sides[1] == c else [1]
        other = net.node("ReduceMean", [x], axes=axes, keepdims=1)
        if axes == [1]:  # a mean over channels is none of ours: a convolution makes the map
            net.nodes.pop()
            weights = [rng.integers(-127, 128, [1, c, 1, 1]).astype(np.int8), F(0.01), np.int8(0)]
            weights = net.node("DequantizeLinear", [net.constant(v) for v in weights], axis=0)
            other = net.node("Conv", [x, weights], kernel_shape=[1, 1])
    else:
        other = net.node("Sigmoid", [x])
    _, other = net.quantized(other, 0.02, int(rng.integers(256)))
    first = bool(rng.integers(2))
    return net.node(op, [x, other] if first else [other, x]), dict(sides=sides, first=first)


def with_constant(net, rng, x, op):
    value = rng.uniform(0.5, 2, pick(rng, [[], [net.shape[1], 1, 1], [1, net.shape[1], 1, 1]])).astype(F)
    first = op != "Div" and bool(rng.integers(2))
    constant = net.constant(value)
    return net.node(op, [constant, x] if first else [x, constant]), dict(first=first, sides=list(value.shape))


def unary(net, rng, x, op):
    return net.node(op, [x]), {}


OPERATORS = {
    "MaxPool": pool, "AveragePool": pool, "Resize": resize, "Pad": pad, "ConvTranspose": conv_transpose,
    **{op: normalization for op in ("BatchNormalization", "InstanceNormalization", "GroupNormalization")},
    **{op: combine for op in ("Add", "Sub", "Mul")},
    **{f"{op} constant": with_constant for op in ("Add", "Sub", "Mul", "Div")},
    **{op: unary for op in ("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Softplus", "Softsign", "Abs", "Neg", "Mish")},
}  # fmt: skip


def draw(kind, seed):
    rng = np.random.default_rng(seed)
    shape = [1, pick(rng, [1, 2, 4, 6, 18]), int(rng.integers(5, 12)), int(rng.integers(5, 12))]
    net, op = Net(rng, shape), kind.split()[0]
    _, x = net.quantized("image", rng.uniform(0.01, 0.03), int(rng.integers(256)))
    maker = OPERATORS[kind]
    alone = maker in (resize, pad, conv_transpose)
    y, attributes = maker(net, rng, x) if alone else maker(net, rng, x, op)
    opset = 21 if kind == "GroupNormalization" else 19 if kind in ("AveragePool", "Resize", "Pad") else 18 if kind == "Mish" else 17
    image = (rng.uniform(-2.5, 2.5, shape)).astype(F)
    real = session(net.model(opset, [(y, TensorProto.FLOAT)])).run(None, {"image": image})[0]
    reach = float(np.abs(real).max()) + 1e-3
    q, out = net.quantized(y, reach * rng.uniform(0.5, 1.1) / 128, int(rng.integers(90, 166)))
    codes = session(net.model(opset, [(q, TensorProto.UINT8)])).run(None, {"image": image})[0]
    return net.model(opset, [(out, TensorProto.FLOAT)]), image, codes, attributes


def main():
    if len(sys.argv) not in (2, 3, 4):
        raise SystemExit(__doc__)
    root, seed, count = pathlib.Path(sys.argv[1]), int((sys.argv[2:] or [0])[0]), int((sys.argv[3:] or [8])[0])
    lines, kinds, without = [], list(OPERATORS), 0
    for at in range(count * len(kinds)):
        kind = kinds[at % len(kinds)]
        try:
            model, image, codes, attributes = draw(kind, [seed, at])
        except (ort.capi.onnxruntime_pybind11_state.Fail, ort.capi.onnxruntime_pybind11_state.RuntimeException,
                ort.capi.onnxruntime_pybind11_state.InvalidArgument, ort.capi.onnxruntime_pybind11_state.NotImplemented) as reason:  # fmt: skip
            without += 1
            print(f"{kind}: ONNX Runtime has no answer: {str(reason).splitlines()[0][:160]}", file=sys.stderr)
            continue
        onnx.save(model, root / f"{at}.onnx")
        image.tofile(root / f"{at}.f32")
        codes.tofile(root / f"{at}.codes")
        lines.append(f"{at} {kind} {list(image.shape)} {attributes}")
    if without * 10 > count * len(kinds):
        raise SystemExit(f"{without} cases without an answer")
    (root / "cases.txt").write_text("\n".join(lines) + "\n")


main()
