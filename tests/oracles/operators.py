"""Every operator between DequantizeLinear and QuantizeLinear, in f64, with the magnitude that f32 can lose a share of.

Written from ONNX's definition of each operator. `OPERATORS[op_type](node, inputs, how)` takes (value, magnitude) pairs,
`how` the same inputs where they are constants, and returns a pair, or a list of pairs where there are several outputs.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import erf


class Unknown(Exception):
    """An operation without a definition here."""


def unknown(node):
    raise Unknown(f"{node.op_type} `{node.name}`")


def attribute(node, name, default):
    for a in node.attribute:
        if a.name == name:
            return {1: a.f, 2: a.i, 3: a.s, 6: list(a.floats), 7: list(a.ints)}[a.type]
    return default


def both(function):
    """An operator that only moves or adds numbers: the magnitudes go the same way."""
    return lambda node, inputs, how: tuple(function(node, part, how) for part in inputs[0])


# ---- sums and products ----


def add(node, inputs, how):
    (x, m), (y, n) = inputs
    return (x + y if node.op_type == "Add" else x - y), m + n


def mul(node, inputs, how):
    (x, m), (y, n) = inputs
    return x * y, m * n


def div(node, inputs, how):
    (x, m), (y, _) = inputs
    if how[1] is None:
        unknown(node)
    return x / y, m / np.abs(y)


def matmul(node, inputs, how):
    (x, m), (y, n) = inputs
    return x @ y, m @ n


def gemm(node, inputs, how):
    if attribute(node, "transA", 0) or any(attribute(node, name, 1.0) != 1.0 for name in ("alpha", "beta")):
        unknown(node)
    turned = (lambda w: w.T) if attribute(node, "transB", 0) else (lambda w: w)
    bias = inputs[2] if len(inputs) > 2 else (0.0, 0.0)
    return tuple(a @ turned(w) + b for a, w, b in zip(inputs[0], inputs[1], bias))


def conv(node, inputs, how):
    bias = inputs[2] if len(inputs) > 2 and inputs[2] else (np.zeros(1), np.zeros(1))
    sums = (convolved(node, x, w) for x, w in zip(inputs[0], inputs[1]))
    return tuple(own + b.reshape(-1, 1, 1) for own, b in zip(sums, bias))


def padding(node, x, kernel):
    """Rows above and below, columns left and right."""
    auto = attribute(node, "auto_pad", b"NOTSET")
    if auto not in (b"NOTSET", b"VALID"):
        unknown(node)
    top, left, bottom, right = attribute(node, "pads", [0, 0, 0, 0])
    return (top, bottom), (left, right)


def windows(node, x, kernel, outside, more=((0, 0), (0, 0))):
    """[N, C, rows, columns, kH, kW]"""
    pads = [tuple(a + b for a, b in zip(own, extra)) for own, extra in zip(padding(node, x, kernel), more)]
    x = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=outside)
    (down, across), (tall, wide) = attribute(node, "strides", [1, 1]), attribute(node, "dilations", [1, 1])
    reach = [(side - 1) * step + 1 for side, step in zip(kernel, (tall, wide))]
    return sliding_window_view(x, reach, (2, 3))[:, :, ::down, ::across, ::tall, ::wide]


def convolved(node, x, w):
    groups = attribute(node, "group", 1)
    seen = windows(node, x, w.shape[2:], 0.0)
    if groups == x.shape[1] == w.shape[0]:
        return np.einsum("nchwyx,cyx->nchw", seen, w[:, 0])
    parts = zip(np.split(seen, groups, 1), np.split(w, groups, 0))
    made = [np.tensordot(own, kernel, ([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2) for own, kernel in parts]
    return np.concatenate(made, 1)


# ---- windows and means ----


def max_pool(node, x, how):
    if attribute(node, "ceil_mode", 0):
        unknown(node)
    return windows(node, x, attribute(node, "kernel_shape", []), -np.inf).max((4, 5))


def average_pool(node, x, how):
    if attribute(node, "ceil_mode", 0):
        unknown(node)
    kernel = attribute(node, "kernel_shape", [])
    sums = windows(node, x, kernel, 0.0).sum((4, 5))
    inside = np.ones_like(x) if not attribute(node, "count_include_pad", 0) else None
    count = np.prod(kernel) if inside is None else windows(node, inside, kernel, 0.0).sum((4, 5))
    return sums / count


def reduce_mean(node, x, how):
    axes = attribute(node, "axes", None)
    if axes is None:
        axes = how[1].tolist() if len(how) > 1 and how[1] is not None else list(range(x.ndim))
    return x.mean(tuple(axes), keepdims=bool(attribute(node, "keepdims", 1)))


# ---- functions of one number ----
# f32 evaluates a function of x with an error of a few roundings of its parts, which are no larger than |x|, and 1 where
# an exponential is at work.


def function(of, part=0.0):
    """`of(node, x, how)`; none of ours is steeper than 2."""

    def operator(node, inputs, how):
        x, m = inputs[0]
        y = of(node, x, how)
        return y, np.abs(y) + 2 * m + part

    return operator


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def gelu(node, x, how):
    if attribute(node, "approximate", b"none") == b"tanh":
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + erf(x / np.sqrt(2)))


def hard_sigmoid(node, x, how):
    alpha, beta = (float(np.float32(attribute(node, name, usual))) for name, usual in (("alpha", 0.2), ("beta", 0.5)))
    return np.clip(alpha * x + beta, 0, 1)


def elu(node, x, how):
    return np.where(x < 0, float(np.float32(attribute(node, "alpha", 1.0))) * np.expm1(np.minimum(x, 0)), x)


def leaky_relu(node, inputs, how):
    x, m = inputs[0]
    return np.where(x < 0, x * float(np.float32(attribute(node, "alpha", 0.01))), x), m


def clip(node, inputs, how):
    x, m = inputs[0]
    lo, hi = (-np.inf if len(how) < 2 or how[1] is None else float(how[1]), np.inf if len(how) < 3 or how[2] is None else float(how[2]))
    return np.clip(x, lo, hi), m


# ---- normalisations ----


def normalised(x, m, axes, eps):
    """(x - mean) / √(variance + eps). f32 may lose a share of the mean square when it takes the mean's from it."""
    mean, square = x.mean(axes, keepdims=True), (x**2).mean(axes, keepdims=True)
    deviation = np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)
    y = (x - mean) / deviation
    lost = 1 + square / deviation**2
    return y, (m + np.abs(x).mean(axes, keepdims=True)) / deviation + np.abs(y) * lost


def affine(pair, inputs, shape):
    y, m = pair
    gain = inputs[1][0].reshape(shape) if len(inputs) > 1 else 1.0
    bias = inputs[2][0].reshape(shape) if len(inputs) > 2 and inputs[2] else 0.0
    return y * gain + bias, m * np.abs(gain) + np.abs(bias)


def layer_norm(node, inputs, how):
    x, m = inputs[0]
    first = attribute(node, "axis", -1) % x.ndim
    axes = tuple(range(first, x.ndim))
    pair = normalised(x, m, axes, float(np.float32(attribute(node, "epsilon", 1e-5))))
    return affine(pair, inputs, x.shape[first:])


def group_norm(node, inputs, how):
    """InstanceNormalization is one group for each channel. Gains of channels, as since operator set 21."""
    x, m = inputs[0]
    channels = x.shape[1]
    groups = channels if node.op_type == "InstanceNormalization" else attribute(node, "num_groups", 1)
    if inputs[1][0].size != channels:
        unknown(node)
    shape = (x.shape[0], groups, -1)
    pair = normalised(x.reshape(shape), m.reshape(shape), (2,), float(np.float32(attribute(node, "epsilon", 1e-5))))
    return affine([part.reshape(x.shape) for part in pair], inputs, (channels, *[1] * (x.ndim - 2)))


def softmax(node, inputs, how):
    x, m = inputs[0]
    axis = attribute(node, "axis", -1)
    share = np.exp(x - x.max(axis, keepdims=True))
    share /= share.sum(axis, keepdims=True)
    # What f32 does to a score it does to the share's logarithm, and to the largest score's; then one rounding a
    # term of the sum, and a few of the exponential and the division.
    return share, share * (8 + x.shape[axis] + 2 * m.max(axis, keepdims=True))


# ---- what moves numbers ----


def reshape(node, x, how):
    return x.reshape([x.shape[at] if side == 0 else side for at, side in enumerate(how[1])])


def flatten(node, x, how):
    axis = attribute(node, "axis", 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def transpose(node, x, how):
    return x.transpose(attribute(node, "perm", None))


def squeeze(node, x, how):
    return x.squeeze(tuple(how[1].tolist()) if len(how) > 1 else None)


def unsqueeze(node, x, how):
    return np.expand_dims(x, tuple(how[1].tolist()))


def gather(node, x, how):
    return np.take(x, how[1], attribute(node, "axis", 0))


def sliced(node, x, how):
    starts, ends = how[1], how[2]
    axes = how[3] if len(how) > 3 and how[3] is not None else range(len(starts))
    steps = how[4] if len(how) > 4 and how[4] is not None else [1] * len(starts)
    at = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps):
        at[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(at)]


def split(node, inputs, how):
    x, m = inputs[0]
    sizes = how[1] if len(how) > 1 else [x.shape[attribute(node, "axis", 0)] // len(node.output)] * len(node.output)
    ends = np.cumsum(sizes)[:-1]
    return list(zip(*(np.split(part, ends, attribute(node, "axis", 0)) for part in (x, m))))


def concat(node, inputs, how):
    return tuple(np.concatenate(parts, attribute(node, "axis", 1)) for parts in zip(*inputs))


def pad(node, inputs, how):
    if attribute(node, "mode", b"constant") != b"constant" or len(how) > 3:
        unknown(node)
    value = float(how[2]) if len(how) > 2 and how[2] is not None else 0.0
    half = len(how[1]) // 2
    sides = list(zip(how[1][:half], how[1][half:]))
    (x, m) = inputs[0]
    return np.pad(x, sides, constant_values=value), np.pad(m, sides, constant_values=abs(value))


def resize(node, x, how):
    if attribute(node, "mode", b"nearest") != b"nearest":
        unknown(node)
    if attribute(node, "coordinate_transformation_mode", b"half_pixel") != b"asymmetric" or (how[2] % 1).any():
        unknown(node)
    if attribute(node, "nearest_mode", b"round_prefer_floor") != b"floor":
        unknown(node)
    factors = how[2].astype(int)
    return x.repeat(factors[2], 2).repeat(factors[3], 3)


OPERATORS = {
    "Add": add,
    "Sub": add,
    "Mul": mul,
    "Div": div,
    "MatMul": matmul,
    "Gemm": gemm,
    "Conv": conv,
    "MaxPool": both(max_pool),
    "AveragePool": both(average_pool),
    "GlobalAveragePool": both(lambda node, x, how: x.mean((2, 3), keepdims=True)),
    "ReduceMean": both(reduce_mean),
    "Relu": lambda node, inputs, how: (np.maximum(inputs[0][0], 0), inputs[0][1]),
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "Sigmoid": function(lambda node, x, how: sigmoid(x), 1.0),
    "HardSigmoid": function(hard_sigmoid, 1.0),
    "HardSwish": function(lambda node, x, how: x * np.clip(x / 6 + 0.5, 0, 1)),
    "Tanh": function(lambda node, x, how: np.tanh(x)),
    "Erf": function(lambda node, x, how: erf(x)),
    "Gelu": function(gelu),
    "Elu": function(elu, 1.0),
    "Softplus": function(lambda node, x, how: softplus(x), 1.0),
    "Mish": function(lambda node, x, how: x * np.tanh(softplus(x))),
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": group_norm,
    "Softmax": softmax,
    "Identity": both(lambda node, x, how: x),
    "Reshape": both(reshape),
    "Flatten": both(flatten),
    "Transpose": both(transpose),
    "Squeeze": both(squeeze),
    "Unsqueeze": both(unsqueeze),
    "Gather": both(gather),
    "Slice": both(sliced),
    "Split": split,
    "Concat": concat,
    "Pad": pad,
    "Resize": both(resize),
}
