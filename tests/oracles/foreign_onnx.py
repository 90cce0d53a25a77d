"""Writes small ONNX models as other tools write them, with an input and what ONNX Runtime makes of it.

usage: foreign_onnx.py FOLDER      fills FOLDER with NAME.onnx, NAME.in and NAME.out (f32, little endian)

Prints one JSON object: {NAME: {"outputs": [sizes]}}. A model that ONNX Runtime refuses is left out and named under
"refused", so that a change of ONNX Runtime shows.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

FOLDER = Path(sys.argv[1])
REPORT: dict = {"models": {}, "refused": {}}
RANDOM = np.random.default_rng(7)


class Model:
    """A graph written node by node."""

    def __init__(self, shape, opset=17):
        self.shape, self.opset = shape, opset
        self.nodes, self.constants, self.functions, self.external = [], [], [], False
        self.kind = T.FLOAT

    def const(self, values, dtype=None, how="initializer"):
        array = np.asarray(values, dtype=dtype)
        name = f"c{len(self.constants)}_{len(self.nodes)}"
        tensor = numpy_helper.from_array(array, name)
        if how == "initializer":
            self.constants.append(tensor)
        elif how == "constant":
            self.nodes.append(h.make_node("Constant", [], [name], value=tensor))
        elif how == "identity":
            self.constants.append(tensor)
            self.nodes.append(h.make_node("Identity", [name], [name + "i"]))
            return name + "i"
        elif how == "cast":
            wide = numpy_helper.from_array(array.astype(np.float64), name)
            self.constants.append(wide)
            self.nodes.append(h.make_node("Cast", [name], [name + "f"], to=T.FLOAT))
            return name + "f"
        elif how == "half":
            self.constants.append(numpy_helper.from_array(array.astype(np.float16), name))
            self.nodes.append(h.make_node("Cast", [name], [name + "f"], to=T.FLOAT))
            return name + "f"
        elif how == "bfloat":
            words = (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
            tensor = h.make_tensor(name, T.BFLOAT16, array.shape, words.tobytes(), raw=True)
            self.constants.append(tensor)
            self.nodes.append(h.make_node("Cast", [name], [name + "f"], to=T.FLOAT))
            return name + "f"
        elif how == "listed":
            self.constants.append(h.make_tensor(name, T.FLOAT, array.shape, array.ravel().tolist()))
        return name

    def weight(self, *shape, how="initializer"):
        fan = max(1, int(np.prod(shape[1:])))
        return self.const(RANDOM.standard_normal(shape) / np.sqrt(fan), np.float32, how)

    def node(self, op, inputs, outputs=1, name=None, **attributes):
        made = [f"t{len(self.nodes)}_{at}" for at in range(outputs)]
        self.nodes.append(h.make_node(op, inputs, made, name=name or "", **attributes))
        return made[0] if outputs == 1 else made

    def save(self, name, outputs):
        outputs = outputs if isinstance(outputs, list) else [outputs]
        graph = h.make_graph(
            self.nodes,
            "g",
            [h.make_tensor_value_info("x", self.kind, self.shape)],
            [h.make_tensor_value_info(o, T.FLOAT, None) for o in outputs],
            self.constants,
        )
        imports = [h.make_opsetid("", self.opset)] + [h.make_opsetid("own", 1)] * bool(self.functions)
        model = h.make_model(graph, opset_imports=imports, ir_version=8, functions=self.functions)
        path = FOLDER / f"{name}.onnx"
        if self.external:
            onnx.save_model(model, path, save_as_external_data=True, location=f"{name}.bin", size_threshold=0)
        else:
            onnx.save(model, path)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            shape = [side if isinstance(side, int) else 1 for side in self.shape]
            image = RANDOM.standard_normal(shape).astype(np.float32)
            found = session.run(None, {"x": image})
        except Exception as error:  # what the oracle cannot run proves nothing
            path.unlink()
            REPORT["refused"][name] = str(error).splitlines()[0][:160]
            return
        if len(shape) == 4 and shape[1] not in (1, 3):  # ours takes channels first
            image = image.transpose(0, 3, 1, 2)
        image.astype("<f4").tofile(FOLDER / f"{name}.in")
        np.concatenate([f.ravel() for f in found]).astype("<f4").tofile(FOLDER / f"{name}.out")
        REPORT["models"][name] = [int(f.size) for f in found]


def pools():
    kinds = [("MaxPool", {}), ("AveragePool", {"count_include_pad": 0}), ("AveragePool", {"count_include_pad": 1})]
    rules = [{}, {"pads": [1, 1, 1, 1]}, {"pads": [0, 1, 1, 0]}, {"auto_pad": "SAME_UPPER"},
             {"auto_pad": "SAME_LOWER"}, {"auto_pad": "VALID"}, {"pads": [2, 2, 2, 2]}]
    for (op, more), rule, ceil in itertools.product(kinds, rules, [0, 1]):
        for kernel, strides in [([3, 3], [2, 2]), ([2, 3], [1, 2]), ([3, 3], [3, 1]), ([4, 4], [3, 3])]:
            if max(rule.get("pads", [0])) >= min(kernel) or (ceil and "auto_pad" in rule):
                continue
            m = Model([1, 3, 11, 14], 19)
            attributes = {**more, **rule, "kernel_shape": kernel, "strides": strides, "ceil_mode": ceil}
            name = f"{op}{more.get('count_include_pad', '')}-{''.join(map(str, rule.get('pads', [])))}"
            name += f"{rule.get('auto_pad', '')}-{kernel[0]}{kernel[1]}-{strides[0]}{strides[1]}-{ceil}"
            m.save(name, m.node(op, ["x"], **attributes))
    for dilations, pads in [([2, 2], [0] * 4), ([2, 1], [1] * 4), ([3, 2], [2, 1, 2, 1])]:
        m = Model([1, 3, 13, 12])
        y = m.node("MaxPool", ["x"], kernel_shape=[3, 3], dilations=dilations, pads=pads, strides=[2, 1])
        m.save(f"MaxPool-dilated{dilations[0]}{dilations[1]}", y)
    m = Model([1, 3, 9, 7])
    m.save("GlobalMaxPool", m.node("GlobalMaxPool", ["x"]))


def resizes():
    rules = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
    nearest = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
    scales = [[2.0, 2.0], [3.0, 1.5], [0.5, 0.5], [0.6, 1.7], [2.0, 1.0], [4.0, 4.0]]
    for mode, rule, (at, scale) in itertools.product(["nearest", "linear"], rules, enumerate(scales)):
        for round_ in nearest if mode == "nearest" else [None]:
            m = Model([1, 3, 6, 7], 19)
            attributes = {"mode": mode, "coordinate_transformation_mode": rule}
            attributes |= {"nearest_mode": round_} if round_ else {}
            y = m.node("Resize", ["x", "", m.const([1.0, 1.0, *scale], np.float32)], **attributes)
            m.save(f"Resize-{mode}-{rule}-{round_}-{at}", y)
    for at, size in enumerate([[12, 14], [5, 9], [1, 1], [6, 7], [24, 3]]):
        for mode, rule in itertools.product(["nearest", "linear"], rules):
            m = Model([1, 3, 6, 7], 19)
            y = m.node("Resize", ["x", "", "", m.const([1, 3, *size], np.int64)], mode=mode,
                       coordinate_transformation_mode=rule)
            m.save(f"Resize-size{at}-{mode}-{rule}", y)
    m = Model([1, 3, 6, 7], 18)
    y = m.node("Resize", ["x", "", m.const([2.0, 3.0], np.float32)], axes=[2, -1], mode="nearest")
    m.save("Resize-axes", y)
    for opset, op in [(9, "Upsample"), (10, "Resize")]:
        for mode in ["nearest", "linear"]:
            m = Model([1, 3, 6, 7], opset)
            m.save(f"{op}{opset}-{mode}", m.node(op, ["x", m.const([1.0, 1.0, 2.0, 3.0], np.float32)], mode=mode))
    m = Model([1, 3, 6, 7], 8)
    m.save("Upsample8", m.node("Upsample", ["x"], mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]))
    # Sizes computed from shapes, as PyTorch and tf2onnx write them.
    m = Model([1, 3, 6, 7], 13)
    shape = m.node("Shape", ["x"])
    head = m.node("Slice", [shape, m.const([0], np.int64), m.const([2], np.int64), m.const([0], np.int64)])
    rows = m.node("Gather", [shape, m.const(2, np.int64)], axis=0)
    twice = m.node("Cast", [m.node("Floor", [m.node("Mul", [m.node("Cast", [rows], to=T.FLOAT),
                                                           m.const(2.0, np.float32)])])], to=T.INT64)
    rows = m.node("Unsqueeze", [twice, m.const([0], np.int64)])
    size = m.node("Concat", [head, rows, m.const([13], np.int64)], axis=0)
    y = m.node("Resize", ["x", m.const([], np.float32), m.const([], np.float32), size], mode="linear",
               coordinate_transformation_mode="half_pixel")
    m.save("Resize-computed", y)


def convolutions():
    for at, attributes in enumerate([
        {"pads": [1, 1, 1, 1]}, {"pads": [0, 2, 1, 1], "strides": [2, 1]}, {"dilations": [2, 3]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
        {"auto_pad": "SAME_UPPER", "dilations": [2, 2]}, {"auto_pad": "VALID"}, {"group": 3, "pads": [1] * 4},
    ]):
        m = Model([1, 3, 10, 11])
        inputs = ["x", m.weight(6, 3 // attributes.get("group", 1), 3, 3)] + [m.weight(6)] * (at % 2)
        m.save(f"Conv-{at}", m.node("Conv", inputs, **attributes))
    for at, attributes in enumerate([
        {}, {"strides": [2, 2]}, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [2, 3], "pads": [0, 1, 2, 0]}, {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"}, {"dilations": [2, 1], "strides": [1, 2]},
        {"strides": [3, 2], "output_shape": [14, 12]}, {"group": 3, "strides": [2, 2]},
        {"strides": [2, 2], "output_shape": [11, 10], "auto_pad": "SAME_UPPER"},
    ]):
        m = Model([1, 3, 5, 6])
        inputs = ["x", m.weight(3, 2, 3, 3)] + [m.weight(2 * attributes.get("group", 1))] * (at % 2)
        m.save(f"ConvTranspose-{at}", m.node("ConvTranspose", inputs, **attributes))


def constants():
    for how in ["initializer", "constant", "identity", "cast", "half", "bfloat", "listed"]:
        m = Model([1, 3, 8, 8], 13)
        y = m.node("Conv", ["x", m.weight(4, 3, 3, 3, how=how), m.weight(4, how=how)], pads=[1] * 4)
        m.save(f"constant-{how}", m.node("Relu", [y]))
    m = Model(["batch", 3, 8, 8], 13)
    m.external = True
    y = m.node("Conv", ["x", m.weight(4, 3, 3, 3), m.weight(4)])
    m.save("constant-external", y)
    for name, how in {"value_ints": [2, 3], "value_int": 1, "value_floats": [0.5, 2.0, 1.0], "value_float": 0.25}.items():
        m = Model([1, 3, 4, 6], 18)
        m.nodes.append(h.make_node("Constant", [], ["k"], **{name: how}))
        if name == "value_ints":
            y = m.node("ReduceMean", ["x", "k"], keepdims=0)
        elif name == "value_int":
            y = m.node("Squeeze", [m.node("Unsqueeze", ["x", m.node("Reshape", ["k", m.const([1], np.int64)])]),
                                   m.const([1], np.int64)])
        elif name == "value_floats":
            y = m.node("Mul", ["x", m.node("Reshape", ["k", m.const([3, 1, 1], np.int64)])])
        else:
            y = m.node("Add", [m.node("Mul", ["x", "k"]), "k"])
        m.save(f"constant-{name}", y)
    m = Model([1, 3, 4, 4])
    body = [h.make_node("Mul", ["a", "a"], ["b"], name="square"),
            h.make_node("LeakyRelu", ["c"], ["out"]), ]
    body[1].attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    body.insert(1, h.make_node("Sub", ["a", "b"], ["c"]))
    m.functions = [h.make_function("own", "Bend", ["a"], ["out"], body, [h.make_opsetid("", 17)], ["slope"])]
    y = m.node("Bend", ["x"], domain="own", slope=0.3)
    m.save("function", m.node("Bend", [y], domain="own", slope=0.1))
    m = Model([1, 3, 4, 4])
    truth = m.node("Equal", [m.node("Size", [m.node("Shape", ["x"])]), m.const(4, np.int64)])
    left = h.make_graph([h.make_node("Relu", ["x"], ["left"])], "l", [], [h.make_tensor_value_info("left", T.FLOAT, None)])
    right = h.make_graph([h.make_node("Neg", ["x"], ["right"])], "r", [], [h.make_tensor_value_info("right", T.FLOAT, None)])
    m.save("if", m.node("If", [truth], then_branch=left, else_branch=right))


def formulas():
    f = lambda m, value: m.const(value, np.float32)
    def save(name, make, shape=(1, 3, 5, 6), opset=17):
        m = Model(list(shape), opset)
        m.save("formula-" + name, make(m))
    erf = lambda m, x: m.node("Add", [m.node("Erf", [m.node("Div", [x, f(m, np.sqrt(2))])]), f(m, 1)])
    save("gelu-1", lambda m: m.node("Mul", [m.node("Mul", ["x", erf(m, "x")]), f(m, 0.5)]))
    save("gelu-2", lambda m: m.node("Mul", [m.node("Mul", [f(m, 0.5), "x"]), erf(m, "x")]))
    save("gelu-3", lambda m: m.node("Mul", ["x", m.node("Mul", [erf(m, "x"), f(m, 0.5)])]))
    save("gelu-op", lambda m: m.node("Gelu", ["x"]), opset=20)
    save("gelu-op-tanh", lambda m: m.node("Gelu", ["x"], approximate="tanh"), opset=20)
    def tanh(m, cube):
        inner = m.node("Mul", [m.node("Add", ["x", m.node("Mul", [cube, f(m, 0.044715)])]), f(m, np.sqrt(2 / np.pi))])
        return m.node("Add", [m.node("Tanh", [inner]), f(m, 1)])
    save("gelu-tanh-1", lambda m: m.node("Mul", [m.node("Mul", [f(m, 0.5), "x"]), tanh(m, m.node("Pow", ["x", f(m, 3)]))]))
    save("gelu-tanh-2", lambda m: m.node("Mul", ["x", m.node("Mul", [f(m, 0.5), tanh(m, m.node("Mul", [m.node("Mul", ["x", "x"]), "x"]))])]))
    save("silu", lambda m: m.node("Mul", [m.node("Sigmoid", ["x"]), "x"]))
    save("sigmoid", lambda m: m.node("Div", [f(m, 1), m.node("Add", [f(m, 1), m.node("Exp", [m.node("Neg", ["x"])])])]))
    six = lambda m: m.node("Clip", [m.node("Add", ["x", f(m, 3)]), f(m, 0), f(m, 6)])
    save("hard-swish-1", lambda m: m.node("Div", [m.node("Mul", ["x", six(m)]), f(m, 6)]))
    save("hard-swish-2", lambda m: m.node("Mul", ["x", m.node("Div", [six(m), f(m, 6)])]))
    save("hard-swish-3", lambda m: m.node("Mul", [m.node("Mul", [six(m), f(m, 1 / 6)]), "x"]))
    save("hard-sigmoid", lambda m: m.node("Div", [six(m), f(m, 6)]))
    save("hard-sigmoid-keras", lambda m: m.node("Clip", [m.node("Add", [m.node("Mul", ["x", f(m, 0.2)]), f(m, 0.5)]), f(m, 0), f(m, 1)]))
    save("relu6-min-max", lambda m: m.node("Min", [m.node("Max", ["x", f(m, 0)]), f(m, 6)]))
    save("mish", lambda m: m.node("Mul", ["x", m.node("Tanh", [m.node("Softplus", ["x"])])]))
    save("softplus", lambda m: m.node("Log", [m.node("Add", [m.node("Exp", ["x"]), f(m, 1)])]))
    save("near-gelu", lambda m: m.node("Mul", [m.node("Tanh", ["x"]), m.node("Mul", [f(m, 0.7), m.node("Sigmoid", ["x"])])]))
    save("quick-gelu", lambda m: m.node("Mul", ["x", m.node("Sigmoid", [m.node("Mul", ["x", f(m, 1.702)])])]))
    save("prelu", lambda m: m.node("PRelu", ["x", m.const([[[0.1]], [[-0.5]], [[1.5]]], np.float32)]))
    save("rsub", lambda m: m.node("Sub", [f(m, 1), "x"]))
    save("scaled", lambda m: m.node("Mul", [m.node("Add", [m.node("Div", ["x", f(m, 0.3)]), f(m, 2)]), f(m, -1.5)]))
    save("sum", lambda m: m.node("Sum", ["x", m.node("Relu", ["x"]), f(m, 0.5)]))
    save("elu", lambda m: m.node("Elu", ["x"], alpha=0.7))
    save("affine", lambda m: m.node("Add", [m.node("Mul", ["x", m.weight(3, 1, 1)]), m.weight(1, 3, 1, 1)]))
    save("affine-conv", lambda m: m.node("Add", [m.node("Mul", [m.node("Conv", ["x", m.weight(3, 3, 1, 1)]), m.weight(3, 1, 1)]), m.weight(3, 1, 1)]))


def norm(m, x, axes, eps=1e-5, square="Pow"):
    """A normalisation as exporters spell it out."""
    axes = {"axes": axes}
    d = m.node("Sub", [x, m.node("ReduceMean", [x], keepdims=1, **axes)])
    power = m.node("Pow", [d, m.const(2, np.float32)]) if square == "Pow" else m.node("Mul", [d, d])
    v = m.node("Add", [m.node("ReduceMean", [power], keepdims=1, **axes), m.const(eps, np.float32)])
    if square == "Pow":
        return m.node("Div", [d, m.node("Sqrt", [v])])
    return m.node("Mul", [d, m.node("Reciprocal", [m.node("Sqrt", [v])])])


def normalisations():
    def tokens(m):
        x = m.node("Reshape", ["x", m.const([0, 3, -1], np.int64)])
        return m.node("Transpose", [x], perm=[0, 2, 1])
    for square in ["Pow", "Mul"]:
        m = Model([1, 3, 4, 8])
        m.save(f"layer-norm-{square}", m.node("Add", [m.node("Mul", [norm(m, "x", [-1], square=square), m.weight(8)]), m.weight(8)]))
        m = Model([1, 3, 4, 8])
        m.save(f"layer-norm-channels-{square}", m.node("Add", [m.node("Mul", [norm(m, "x", [1], square=square), m.weight(3, 1, 1)]), m.weight(3, 1, 1)]))
        m = Model([1, 3, 4, 8])
        m.save(f"instance-norm-{square}", m.node("Mul", [norm(m, "x", [2, 3], square=square), m.weight(1, 3, 1, 1)]))
    m = Model([1, 3, 4, 8])
    y = m.node("Conv", ["x", m.weight(6, 3, 1, 1)])
    grouped = norm(m, m.node("Reshape", [y, m.const([1, 2, -1], np.int64)]), [-1])
    y = m.node("Reshape", [grouped, m.const([1, 6, 4, 8], np.int64)])
    m.save("group-norm-spelt", m.node("Add", [m.node("Mul", [y, m.weight(6, 1, 1)]), m.weight(6, 1, 1)]))
    m = Model([1, 3, 4, 8])
    y = m.node("Conv", ["x", m.weight(6, 3, 1, 1)])
    y = m.node("Reshape", [y, m.const([0, 3, -1], np.int64)])
    y = m.node("InstanceNormalization", [y, m.const([1, 1, 1], np.float32), m.const([0, 0, 0], np.float32)])
    y = m.node("Reshape", [y, m.const([1, 6, 4, 8], np.int64)])
    m.save("group-norm-torch", m.node("Add", [m.node("Mul", [y, m.weight(6, 1, 1)]), m.weight(6, 1, 1)]))
    m = Model([1, 3, 4, 8])  # Keras: x · g/σ + (b − mean · g/σ)
    mean = m.node("ReduceMean", ["x"], axes=[-1], keepdims=1)
    d = m.node("Sub", ["x", mean])
    v = m.node("ReduceMean", [m.node("Mul", [d, d])], axes=[-1], keepdims=1)
    gain = m.node("Mul", [m.node("Reciprocal", [m.node("Sqrt", [m.node("Add", [v, m.const(1e-3, np.float32)])])]), m.weight(8)])
    y = m.node("Add", [m.node("Mul", ["x", gain]), m.node("Sub", [m.weight(8), m.node("Mul", [mean, gain])])])
    m.save("layer-norm-keras", y)
    for axis, weights in [(-1, [8]), (2, [4, 8]), (1, [3, 4, 8]), (-2, [8])]:
        m = Model([1, 3, 4, 8])
        y = m.node("LayerNormalization", ["x", m.weight(*weights), m.weight(*weights)], axis=axis, epsilon=1e-4)
        m.save(f"LayerNormalization{axis}", y)
    m = Model([1, 3, 4, 8])
    m.save("InstanceNormalization", m.node("InstanceNormalization", ["x", m.weight(3), m.weight(3)]))
    for opset, count in [(18, 3), (21, 6)]:
        m = Model([1, 3, 4, 8], opset)
        y = m.node("Conv", ["x", m.weight(6, 3, 1, 1)])
        m.save(f"GroupNormalization{opset}", m.node("GroupNormalization", [y, m.weight(count), m.weight(count)], num_groups=3))
    m = Model([1, 3, 4, 8])
    variance = m.const(RANDOM.uniform(0.5, 2, 3), np.float32)
    m.save("BatchNormalization", m.node("BatchNormalization", ["x", m.weight(3), m.weight(3), m.weight(3), variance]))
    for opset, axis in [(11, 1), (11, 3), (13, 1), (13, -1), (13, 2)]:
        m = Model([1, 3, 4, 8], opset)
        m.save(f"Softmax{opset}-{axis}", m.node("Softmax", ["x"], axis=axis))


def layouts():
    def save(name, make, shape=(1, 3, 6, 8), opset=17):
        m = Model(list(shape), opset)
        m.save("layout-" + name, make(m))
    i = lambda m, *values: m.const(list(values), np.int64)
    for axes in [[2, 3], [3, 2], [-1, -2], [1], [2], [3], [1, 2, 3], [1, 3]]:
        for keep in [0, 1][len(axes) // 3 :]:  # an output has a batch axis and one more
            save(f"mean{''.join(map(str, axes))}-{keep}", lambda m: m.node("ReduceMean", ["x"], axes=axes, keepdims=keep))
    save("reduce-sum", lambda m: m.node("ReduceSum", ["x", i(m, 2, 3)], keepdims=0))
    save("reduce-max", lambda m: m.node("ReduceMax", ["x"], axes=[2, 3], keepdims=0))
    save("pool-flatten", lambda m: m.node("Flatten", [m.node("GlobalAveragePool", ["x"])]))
    save("pool-squeeze", lambda m: m.node("Squeeze", [m.node("GlobalAveragePool", ["x"]), i(m, 3, 2)]))
    save("shuffle", lambda m: m.node("Reshape", [m.node("Transpose", [m.node("Reshape", [m.node("Conv", ["x", m.weight(6, 3, 1, 1)]), i(m, 1, 2, 3, 6, 8)])], perm=[0, 2, 1, 3, 4]), i(m, 1, 6, 6, 8)]))
    save("split", lambda m: m.node("Concat", m.node("Split", ["x", i(m, 1, 2)], 2, axis=1)[::-1], axis=1))
    save("split-even", lambda m: m.node("Concat", m.node("Split", ["x"], 4, axis=-1)[::-1], axis=2))
    save("split-18", lambda m: m.node("Concat", m.node("Split", ["x"], 3, axis=-1, num_outputs=3)[::-1], axis=3), opset=18)
    save("slice", lambda m: m.node("Slice", ["x", i(m, 1, -5), i(m, 9, 2**62), i(m, 2, -1), i(m, 2, 1)]))
    save("slice-old", lambda m: m.node("Slice", ["x"], starts=[1, 2], ends=[3, 7], axes=[1, 3]), opset=9)
    save("flip", lambda m: m.node("Slice", ["x", i(m, -1), i(m, -2**62), i(m, 3), i(m, -1)]))
    save("roll", lambda m: m.node("Concat", [m.node("Slice", ["x", i(m, 2), i(m, 8), i(m, 3)]), m.node("Slice", ["x", i(m, 0), i(m, 2), i(m, 3)])], axis=3))
    save("gather", lambda m: m.node("Gather", ["x", m.const(-2, np.int64)], axis=2))
    save("gather-many", lambda m: m.node("Gather", ["x", i(m, 5, 0, 2, 4, 4)], axis=2))
    save("gather-matrix", lambda m: m.node("Gather", ["x", m.const([[0, 1], [2, 0]], np.int64)], axis=1))
    save("depth", lambda m: m.node("DepthToSpace", [m.node("Conv", ["x", m.weight(8, 3, 1, 1)])], blocksize=2))
    save("depth-crd", lambda m: m.node("DepthToSpace", [m.node("Conv", ["x", m.weight(8, 3, 1, 1)])], blocksize=2, mode="CRD"))
    save("space", lambda m: m.node("SpaceToDepth", ["x"], blocksize=2))
    save("expand", lambda m: m.node("Expand", [m.node("GlobalAveragePool", ["x"]), i(m, 1, 3, 4, 5)]))
    save("gather-nd", lambda m: m.node("Add", ["x", m.node("GatherND", [m.weight(5, 8), m.const([[1], [0], [4], [-1], [1], [2]], np.int64)])]))
    save("scatter-nd", lambda m: m.node("Add", ["x", m.node("ScatterND", [m.weight(6, 8), m.const([[1], [4]], np.int64), m.weight(2, 8)])]))
    save("mask", lambda m: m.node("Mul", ["x", m.node("Where", [m.node("Less", [m.node("Range", [m.const(0, np.int64), m.const(8, np.int64), m.const(1, np.int64)]), m.const(5, np.int64)]), m.const(2.0, np.float32), m.const(-1.0, np.float32)])]))
    save("tile", lambda m: m.node("Tile", ["x", i(m, 1, 2, 1, 3)]))
    for mode in ["constant", "reflect", "edge", "wrap"]:
        save(f"pad-{mode}", lambda m: m.node("Pad", ["x", i(m, 0, 0, 1, 2, 0, 0, 3, 0)], mode=mode), opset=19)
    save("pad-value", lambda m: m.node("Pad", ["x", i(m, 0, 1, 0, 2, 0, 0, 1, 0), m.const(0.5, np.float32)]))
    save("pad-crop", lambda m: m.node("Pad", ["x", i(m, 0, 0, -1, 2, 0, 0, -2, -3)]))
    save("pad-axes", lambda m: m.node("Pad", ["x", i(m, 1, 2, 3, 0), "", i(m, 3, -2)]), opset=18)
    save("pad-old", lambda m: m.node("Pad", ["x"], pads=[0, 0, 1, 1, 0, 0, 2, 2], value=1.5), opset=9)
    save("channels-last", lambda m: m.node("Transpose", [m.node("Relu", [m.node("Conv", [m.node("Transpose", ["x"], perm=[0, 3, 1, 2]), m.weight(4, 3, 3, 3)])])], perm=[0, 2, 3, 1]), shape=(1, 6, 8, 3))
    save("channels-last-mean", lambda m: m.node("Gemm", [m.node("ReduceMean", ["x"], axes=[1, 2], keepdims=0), m.weight(3, 4)]), shape=(1, 6, 8, 3))
    for name, attributes, shape in [("plain", {}, (18, 5)), ("turned", {"transB": 1}, (5, 18)), ("scaled", {"alpha": 0.5, "beta": 2.0}, (18, 5))]:
        save(f"gemm-{name}", lambda m: m.node("Gemm", [m.node("Flatten", [m.node("AveragePool", ["x"], kernel_shape=[2, 3], strides=[2, 3], pads=[0, 0, 0, 1])]), m.weight(*(27 if s == 18 else s for s in shape)), m.weight(5)], **attributes))
    save("matmul-bias", lambda m: m.node("Add", [m.weight(5), m.node("MatMul", ["x", m.weight(8, 5)])]))
    save("matmul-left", lambda m: m.node("MatMul", [m.weight(1, 3, 4, 6), "x"]))


def attention():
    """Heads as PyTorch writes them: tokens in front of the batch, or heads joined with it; windows in the batch axis."""
    i = lambda m, *values: m.const(list(values), np.int64)
    m = Model([1, 3, 4, 4])
    x = m.node("Conv", ["x", m.weight(8, 3, 1, 1)])
    x = m.node("Transpose", [m.node("Reshape", [x, i(m, 1, 8, -1)])], perm=[0, 2, 1])
    token = m.node("Expand", [m.weight(1, 1, 8), i(m, 1, -1 + 2, 8)])
    x = m.node("Add", [m.node("Concat", [token, x], axis=1), m.weight(1, 17, 8)])
    qkv = m.node("Add", [m.node("MatMul", [x, m.weight(8, 24)]), m.weight(24)])
    qkv = m.node("Transpose", [m.node("Reshape", [qkv, i(m, 1, 17, 3, 2, 4)])], perm=[2, 0, 3, 1, 4])
    q, k, v = (m.node("Gather", [qkv, m.const(at, np.int64)], axis=0) for at in range(3))
    s = m.node("MatMul", [m.node("Mul", [q, m.const(0.5, np.float32)]), m.node("Transpose", [k], perm=[0, 1, 3, 2])])
    y = m.node("MatMul", [m.node("Softmax", [s], axis=-1), v])
    y = m.node("Reshape", [m.node("Transpose", [y], perm=[0, 2, 1, 3]), i(m, 1, 17, 8)])
    y = m.node("Add", [x, m.node("Add", [m.node("MatMul", [y, m.weight(8, 8)]), m.weight(8)])])
    m.save("attention", m.node("Gemm", [m.node("Gather", [y, m.const(0, np.int64)], axis=1), m.weight(8, 3), m.weight(3)]))

    m = Model([1, 3, 4, 4])  # torch.nn.MultiheadAttention: [L, N, E], heads beside the batch
    x = m.node("Conv", ["x", m.weight(8, 3, 1, 1)])
    x = m.node("Transpose", [m.node("Reshape", [x, i(m, 1, 8, 16)])], perm=[2, 0, 1])
    parts = []
    for _ in range(3):
        p = m.node("Add", [m.node("MatMul", [x, m.weight(8, 8)]), m.weight(8)])
        parts.append(m.node("Transpose", [m.node("Reshape", [p, i(m, 16, 2, 4)])], perm=[1, 0, 2]))
    q, k, v = parts
    s = m.node("Div", [m.node("MatMul", [q, m.node("Transpose", [k], perm=[0, 2, 1])]), m.const(2, np.float32)])
    y = m.node("MatMul", [m.node("Softmax", [s], axis=-1), v])
    y = m.node("Reshape", [m.node("Transpose", [y], perm=[1, 0, 2]), i(m, 16, 8)])
    y = m.node("Reshape", [m.node("Gemm", [y, m.weight(8, 8), m.weight(8)], transB=1), i(m, 16, 1, 8)])
    m.save("attention-tokens-first", m.node("Transpose", [m.node("Add", [x, y])], perm=[1, 0, 2]))

    m = Model([1, 3, 4, 8])  # Swin: windows of 2 x 2 in the batch axis, a bias for each head
    x = m.node("Transpose", [m.node("Conv", ["x", m.weight(8, 3, 1, 1)])], perm=[0, 2, 3, 1])
    w = m.node("Transpose", [m.node("Reshape", [x, i(m, 1, 2, 2, 4, 2, 8)])], perm=[0, 1, 3, 2, 4, 5])
    w = m.node("Reshape", [w, i(m, 8, 4, 8)])
    qkv = m.node("Add", [m.node("MatMul", [w, m.weight(8, 24)]), m.weight(24)])
    qkv = m.node("Transpose", [m.node("Reshape", [qkv, i(m, 8, 4, 3, 2, 4)])], perm=[2, 0, 3, 1, 4])
    q, k, v = (m.node("Squeeze", [p, i(m, 0)]) for p in m.node("Split", [qkv, i(m, 1, 1, 1)], 3, axis=0))
    s = m.node("MatMul", [q, m.node("Transpose", [k], perm=[0, 1, 3, 2])])
    table = m.node("Gather", [m.weight(9, 2), m.const(RANDOM.integers(0, 9, 16), np.int64)], axis=0)
    table = m.node("Transpose", [m.node("Reshape", [table, i(m, 4, 4, 2)])], perm=[2, 0, 1])
    s = m.node("Add", [s, m.node("Unsqueeze", [table, i(m, 0)])])
    mask = m.node("Reshape", [m.weight(8, 4, 4), i(m, 1, 8, 1, 4, 4)])
    s = m.node("Reshape", [m.node("Add", [m.node("Reshape", [s, i(m, 1, 8, 2, 4, 4)]), mask]), i(m, 8, 2, 4, 4)])
    y = m.node("MatMul", [m.node("Softmax", [s], axis=-1), v])
    y = m.node("Reshape", [m.node("Transpose", [y], perm=[0, 2, 1, 3]), i(m, 8, 4, 8)])
    y = m.node("Add", [m.node("MatMul", [y, m.weight(8, 8)]), m.weight(8)])
    y = m.node("Transpose", [m.node("Reshape", [y, i(m, 1, 2, 4, 2, 2, 8)])], perm=[0, 1, 3, 2, 4, 5])
    m.save("attention-windows", m.node("Add", [x, m.node("Reshape", [y, i(m, 1, 4, 8, 8)])]))


def attention_operator():
    for name, shape, attributes, mask in [
        ("4d", [1, 2, 6, 4], {}, None),
        ("scaled", [1, 2, 6, 4], {"scale": 0.25}, [6, 6]),
        ("3d", [1, 12, 4], {"q_num_heads": 2, "kv_num_heads": 2}, [1, 2, 12, 12]),
    ]:
        m = Model([1, 3, 4, 4], 23)
        x = m.node("Reshape", ["x", m.const(shape, np.int64)])
        parts = [m.node("MatMul", [x, m.weight(4, 4)]) for _ in range(3)]
        y = m.node("Attention", [*parts, *([m.weight(*mask)] if mask else [])], **attributes)
        m.save(f"Attention-{name}", y)


for write in [attention_operator, pools, resizes, convolutions, constants, formulas, normalisations, layouts, attention]:
    write()
print(json.dumps(REPORT))
