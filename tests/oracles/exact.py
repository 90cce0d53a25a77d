"""What a QDQ file means, in f64: the real number behind every code, from the codes that go in.

Sums of codes stay below 2^53, so convolutions are exact here; scales are f32 numbers. Beside each value stands the
sum of the magnitudes it is made of, which bounds what f32 arithmetic in any order can do to it.
"""

import numpy as np
from onnx import numpy_helper
from numpy.lib.stride_tricks import sliding_window_view


class Unknown(Exception):
    """An operation without a definition here."""


class Exact:
    """Values of one run; `codes` maps the outputs of QuantizeLinear, `floats` the graph's inputs."""

    def __init__(self, model, codes, floats):
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.makers = {o: n for n in model.graph.node for o in n.output}
        self.codes, self.known = codes, {}
        for name, value in floats.items():
            self.known[name] = (value.astype(np.float64), np.abs(value.astype(np.float64)))

    def of(self, name):
        """(value, magnitude) of a real tensor."""
        if name not in self.known:
            if name in self.constants:
                value = self.constants[name].astype(np.float64)
                return value, np.abs(value)
            self.known[name] = self.eval(self.makers[name])
        return self.known[name]

    def scaled(self, node):
        """Codes a QuantizeLinear writes, before rounding: (real number of steps plus zero point, magnitude, lo, hi)."""
        value, magnitude = self.of(node.input[0])
        scale, zero = (self.constants[name] for name in node.input[1:3])
        limits = np.iinfo(zero.dtype)
        step, zero = float(scale), int(zero)
        return value / step + zero, magnitude / step + abs(zero), limits.min, limits.max

    def dequantized(self, node):
        scale, zero = (self.constants[name].astype(np.float64) for name in node.input[1:3])
        codes = self.codes.get(node.input[0])
        codes = self.constants[node.input[0]] if codes is None else codes
        if scale.ndim:
            axis = attribute(node, "axis", 1)
            shape = [1] * codes.ndim
            shape[axis] = -1
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        codes = codes.astype(np.float64)
        # ONNX Runtime adds the zero points up apart from the codes.
        return (codes - zero) * scale, (np.abs(codes) + np.abs(zero)) * scale

    def eval(self, node):
        kind = node.op_type
        if kind == "DequantizeLinear":
            return self.dequantized(node)
        first = kind in ("Resize", "Clip", "Reshape")
        inputs = [self.of(name) for name in node.input[: 1 if first else None] if name]
        (x, m), rest = inputs[0], inputs[1:]
        if kind == "Conv":
            bias = rest[1] if len(rest) > 1 else (np.zeros(1), np.zeros(1))
            column = (-1, 1, 1)
            return conv(node, x, rest[0][0]) + bias[0].reshape(column), conv(node, m, rest[0][1]) + bias[1].reshape(column)
        if kind == "Gemm":
            return tuple(a @ w.T + b for a, w, b in zip(*inputs)) if attribute(node, "transB", 0) else unknown(node)
        if kind == "Add":
            return x + rest[0][0], m + rest[0][1]
        if kind == "Relu":
            return np.maximum(x, 0), m
        if kind == "Clip":
            lo, hi = (float(self.constants[name]) for name in node.input[1:3])
            return np.clip(x, lo, hi), m
        if kind == "LeakyRelu":
            # The slope is an f32 too.
            return np.where(x < 0, x * float(np.float32(attribute(node, "alpha", 0.01))), x), m
        if kind == "Concat":
            return tuple(np.concatenate(parts, attribute(node, "axis", 1)) for parts in zip(*inputs))
        if kind == "MaxPool":
            return tuple(max_pool(node, part) for part in (x, m))
        if kind == "GlobalAveragePool":
            return tuple(part.mean((2, 3), keepdims=True) for part in (x, m))
        if kind == "MatMul":
            return x @ rest[0][0], m @ rest[0][1]
        if kind == "Softmax" and attribute(node, "axis", -1) == -1:
            share = np.exp(x - x.max(-1, keepdims=True))
            share /= share.sum(-1, keepdims=True)
            # What f32 does to a score it does to the share's logarithm, and to the largest score's; then one rounding a
            # term of the sum, and a few of the exponential and the division.
            return share, share * (8 + x.shape[-1] + 2 * m.max(-1, keepdims=True))
        if kind == "Reshape":
            shape = [x.shape[at] if side == 0 else side for at, side in enumerate(self.constants[node.input[1]])]
            return x.reshape(shape), m.reshape(shape)
        if kind == "Transpose":
            return tuple(part.transpose(attribute(node, "perm", None)) for part in (x, m))
        if kind == "Flatten":
            return tuple(part.reshape(len(part), -1) for part in (x, m))
        if kind == "Resize" and attribute(node, "mode", b"nearest") == b"nearest":
            factors = self.constants[node.input[2]].astype(int)
            return tuple(part.repeat(factors[2], 2).repeat(factors[3], 3) for part in (x, m))
        return unknown(node)


def unknown(node):
    raise Unknown(f"{node.op_type} `{node.name}`")


def attribute(node, name, default):
    for a in node.attribute:
        if a.name == name:
            return {1: a.f, 2: a.i, 3: a.s, 7: list(a.ints)}[a.type]
    return default


def windows(node, x, kernel, outside):
    """[N, C, rows, columns, kH, kW]"""
    top, left, bottom, right = attribute(node, "pads", [0, 0, 0, 0])
    x = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)], constant_values=outside)
    down, across = attribute(node, "strides", [1, 1])
    return sliding_window_view(x, kernel, (2, 3))[:, :, ::down, ::across]


def conv(node, x, w):
    if any(d != 1 for d in attribute(node, "dilations", [1, 1])):
        unknown(node)
    groups = attribute(node, "group", 1)
    seen = windows(node, x, w.shape[2:], 0.0)
    if groups == x.shape[1] == w.shape[0]:
        return np.einsum("nchwyx,cyx->nchw", seen, w[:, 0])
    parts = zip(np.split(seen, groups, 1), np.split(w, groups, 0))
    made = [np.tensordot(own, kernel, ([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2) for own, kernel in parts]
    return np.concatenate(made, 1)


def max_pool(node, x):
    return windows(node, x, attribute(node, "kernel_shape", []), -np.inf).max((4, 5))
