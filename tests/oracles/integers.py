"""The codes behind a QuantizeLinear by our integer definition, to the bit, from the codes that go in.

Written from `runtime/docs/operators.md` and `runtime/docs/transformers.md`, not from the engine. Sums are exact
integers, then come f32 operations in the order written, each rounded once (`np.float32`), then `clamp(rte(v) + zero)`.
What has no such definition here, tables for instance, gives None: `exact.py` judges that too, by the real number behind.
"""

import numpy as np

from operators import OPERATORS, attribute, windows

F = np.float32
#: They place numbers and make none.
MOVES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Identity")


class Definition:
    """Of one file, for the codes of one run; `exact` is its [`Exact`], which knows constants and makers."""

    def __init__(self, exact):
        self.constants, self.makers, self.codes = exact.constants, exact.makers, exact.codes

    def codes_of(self, node):
        """What the QuantizeLinear `node` must write, or None."""
        scale, zero = (self.constants[name] for name in node.input[1:3])
        made = self.makers.get(node.input[0])
        lowest = np.iinfo(zero.dtype).min
        if made is not None and made.op_type == "Relu":
            made, lowest = self.makers.get(made.input[0]), zero.item()
        steps = None if made is None or scale.size > 1 else self.steps(made, F(scale.item()))
        if steps is None:
            return None
        assert steps.dtype == F, made.op_type
        codes = np.rint(steps).astype(np.int64) + zero.item()
        return codes.clip(lowest, np.iinfo(zero.dtype).max)

    def steps(self, node, y):
        """`v`, in steps of `y`."""
        kind = node.op_type
        if kind == "Add":
            return self.addition(node, y)
        if kind in ("Conv", "Gemm", "MatMul"):
            return self.layer(node, None, y) if kind != "MatMul" else self.product(node, F(1), y)
        if kind == "Mul":
            return self.multiplication(node, y)
        if kind == "Softmax" and attribute(node, "axis", -1) == -1:
            return self.softmax(node, y)
        if kind == "LayerNormalization":
            return self.layer_norm(node, y)
        if kind in ("GlobalAveragePool", "ReduceMean"):
            return self.mean(node, y)
        return None

    # ---- operands ----

    def centred(self, name):
        """(codes minus their zero point, scale) of an activation, or a constant with codes of its own, moved or not."""
        node = self.makers.get(name)
        if node is None:
            return None
        if node.op_type in MOVES:
            found = self.centred(node.input[0])
            if found is None:
                return None
            how = [self.constants.get(own) for own in node.input]
            moved = OPERATORS[node.op_type](node, [(found[0], found[0])], how)
            pair = moved[list(node.output).index(name)] if isinstance(moved, list) else moved
            return pair[0], found[1]
        if node.op_type != "DequantizeLinear":
            return None
        scale, zero = (self.constants[own] for own in node.input[1:3])
        codes = self.codes.get(node.input[0], self.constants.get(node.input[0]))
        return None if scale.size > 1 else (codes.astype(np.int64) - zero.item(), F(scale.item()))

    def weights(self, name):
        """(codes, scales of the outputs, their axis) of weights or a bias, whose zero point is 0."""
        node = self.makers.get(name)
        if node is None or node.op_type != "DequantizeLinear" or node.input[0] not in self.constants:
            return None
        scale, zero = (self.constants[own] for own in node.input[1:3])
        codes = self.constants[node.input[0]].astype(np.int64)
        return None if zero.any() else (codes, scale.astype(F), attribute(node, "axis", 1))

    def number(self, name):
        """A float constant of one number."""
        value = self.constants.get(name)
        return F(value.reshape(-1)[0]) if value is not None and value.size == 1 and value.dtype == F else None

    # ---- operators ----

    def layer(self, node, bias, y):
        """`Σ (q_x - z_x)·q_w + bias`, times `s_x·s_w/s_y`. `bias` names that of a MatMul on tokens."""
        x, w = self.centred(node.input[0]), self.weights(node.input[1])
        bias = bias or (node.input[2] if len(node.input) > 2 else None)
        b = self.weights(bias) if bias else (np.zeros(1, np.int64), None, 0)
        if x is None or w is None or b is None:
            return None
        scales = x[1] * w[1].reshape(-1) / y
        if node.op_type == "Conv":
            sums = convolved(node, x[0], w[0]) + b[0].reshape(-1, 1, 1)
            return sums.astype(F) * scales.reshape(-1, 1, 1)
        turned = w[0].T if node.op_type == "Gemm" and attribute(node, "transB", 0) else w[0]
        return (x[0] @ turned + b[0]).astype(F) * scales

    def addition(self, node, y):
        """`a·(s_a/s_y) + b·(s_b/s_y)`, or a layer on tokens and its bias."""
        for at in (0, 1):
            product = self.makers.get(node.input[at])
            if product is not None and product.op_type == "MatMul":
                return self.layer(product, node.input[1 - at], y)
        a, b = self.operands(node)
        return None if a is None or b is None else a[0].astype(F) * (a[1] / y) + b[0].astype(F) * (b[1] / y)

    def multiplication(self, node, y):
        """`(a·b)·(s_a·s_b/s_y)`, or a product of matrices and its factor."""
        for at in (0, 1):
            product, factor = self.makers.get(node.input[at]), self.number(node.input[1 - at])
            if product is not None and product.op_type == "MatMul" and factor is not None:
                return self.product(product, factor, y)
        a, b = self.operands(node)
        return None if a is None or b is None else (a[0] * b[0]).astype(F) * (a[1] * b[1] / y)

    def operands(self, node):
        """Those of a sum or a product; a constant of one number makes a table of it."""
        pairs = [self.centred(name) for name in node.input]
        alone = [name in self.makers and self.makers[name].input[:1] and self.makers[name].input[0] in self.constants
                 for name in node.input]
        return [None if constant and pair and pair[0].size == 1 else pair for constant, pair in zip(alone, pairs)]

    def sums(self, node):
        """(exact sums, their scale) of a product of activations."""
        a, b = (self.centred(name) for name in node.input)
        return None if a is None or b is None else (a[0] @ b[0], a[1] * b[1])

    def product(self, node, factor, y):
        sums = self.sums(node)
        if sums is None:
            return self.layer(node, None, y)
        return sums[0].astype(F) * (sums[1] * factor / y)

    def softmax(self, node, y):
        """Of codes, or of sums that nothing rounded before."""
        scores, factor = self.makers.get(node.input[0]), F(1)
        if scores is not None and scores.op_type == "Mul":
            names = list(scores.input)
            known = [self.number(name) for name in names]
            if sum(number is not None for number in known) != 1:
                return None
            at = 0 if known[0] is not None else 1
            factor, scores = known[at], self.makers.get(names[1 - at])
        is_product = scores is not None and scores.op_type == "MatMul"
        rows = self.sums(scores) if is_product else self.centred(node.input[0])
        if rows is None:
            return None
        below = np.float64(rows[1] * factor) * (rows[0] - rows[0].max(-1, keepdims=True)).astype(np.float64)
        e = np.rint(np.exp(below) * 2.0**30).astype(np.int64)
        return e.astype(F) / e.sum(-1, keepdims=True).astype(F) / y

    def layer_norm(self, node, y):
        """`d = n·q - Σq` and `v = n·Σq² - (Σq)²`; `f32(d) · f32(1/√(f64(v) + ε·n²/s²)) · g/s_y + b/s_y`."""
        x = self.centred(node.input[0])
        gain, bias = (self.constants.get(name) for name in node.input[1:3])
        if x is None or gain is None or bias is None or attribute(node, "axis", -1) % x[0].ndim != x[0].ndim - 1:
            return None
        n, scale = x[0].shape[-1], np.float64(x[1])
        total = x[0].sum(-1, keepdims=True)
        d, v = n * x[0] - total, n * (x[0] ** 2).sum(-1, keepdims=True) - total**2
        epsilon = np.float64(F(attribute(node, "epsilon", 1e-5))) * np.float64(n) ** 2 / scale**2
        root = (1 / np.sqrt(v.astype(np.float64) + epsilon)).astype(F)
        return d.astype(F) * root * (gain.astype(F) / y) + bias.astype(F) / y

    def mean(self, node, y):
        """`s_x/s_y/n` times the exact sum."""
        x = self.centred(node.input[0])
        if x is None:
            return None
        axes = attribute(node, "axes", None) or (self.constants[node.input[1]].tolist() if len(node.input) > 1 else None)
        axes = tuple(axes or (2, 3))
        count = np.prod([x[0].shape[axis] for axis in axes])
        total = x[0].sum(axes, keepdims=bool(attribute(node, "keepdims", 1)))
        return total.astype(F) * (x[1] / y / F(count))


def convolved(node, x, w):
    """Exact sums, group by group."""
    groups = attribute(node, "group", 1)
    seen = windows(node, x, w.shape[2:], 0)
    parts = zip(np.split(seen, groups, 1), np.split(w, groups, 0))
    # Below 2^53, so that f64 is exact, and much faster than integers.
    made = [np.einsum("nchwyx,ocyx->nohw", own.astype(np.float64), kernel.astype(np.float64), optimize=True)
            for own, kernel in parts]
    return np.concatenate(made, 1).astype(np.int64)
