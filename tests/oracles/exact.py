"""What a QDQ file means, in f64: the real number behind every code, from the codes that go in.

Sums of codes stay below 2^53, so convolutions and products are exact here; scales are f32 numbers. Beside each value
stands a magnitude: what f32 arithmetic in any order can do to the value is a small multiple of 2^-24 of it. Of sums it is
the sum of the magnitudes added up; of functions and normalisations see `operators.py`, which has every operator.
"""

import numpy as np
from onnx import numpy_helper

from operators import OPERATORS, Unknown, attribute, unknown


class Exact:
    """Values of one run; `codes` maps the outputs of QuantizeLinear, `floats` the graph's inputs."""

    def __init__(self, model, codes, floats):
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
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
            self.eval(self.makers[name])
        return self.known[name]

    def scaled(self, node):
        """Codes a QuantizeLinear writes, before rounding: (real number of steps plus zero point, magnitude, lo, hi)."""
        value, magnitude = self.of(node.input[0])
        scale, zero = (self.constants[name] for name in node.input[1:3])
        limits = np.iinfo(zero.dtype)
        step, zero = float(scale.item()), zero.item()
        return value / step + zero, magnitude / step + abs(zero), limits.min, limits.max

    def dequantized(self, node):
        scale, zero = (self.constants[name].astype(np.float64) for name in node.input[1:3])
        codes = self.codes.get(node.input[0])
        codes = self.constants[node.input[0]] if codes is None else codes
        if scale.size > 1:
            shape = [1] * codes.ndim
            shape[attribute(node, "axis", 1)] = -1
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        codes = codes.astype(np.float64)
        # ONNX Runtime adds the zero points up apart from the codes.
        return (codes - zero) * scale, (np.abs(codes) + np.abs(zero)) * scale

    def eval(self, node):
        """Into `known`, for every output of the node."""
        if node.op_type == "DequantizeLinear":
            self.known[node.output[0]] = self.dequantized(node)
            return
        operator = OPERATORS.get(node.op_type) or unknown(node)
        # What says how (shapes, axes, bounds) is a constant and no number of the network; an absent input is None.
        how = [self.constants.get(name) for name in node.input]
        inputs = [self.of(name) if name else None for name in node.input]
        made = operator(node, inputs, how)
        for name, pair in zip(node.output, made if isinstance(made, list) else [made]):
            self.known[name] = pair


__all__ = ["Exact", "Unknown"]
