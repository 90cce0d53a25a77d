#!/usr/bin/env python3
"""Which tensor's eight bits an output suffers from: each is rounded alone, all others stay float.

    exporter inspect chest.bundle --extract parts
    exporter inputs index.jsonl --checkpoint prior --limit 100 --out inputs.npy
    .venv/bin/python exporter/benches/rounding_alone.py parts/model.onnx inputs.npy language.global_places

Of each tensor, worst first: the output's cosine with float, mean over pictures; the tensor's step; and the largest value
of a picture, in the median picture and in all. A tensor whose largest value differs much from picture to picture has few
steps for most of them. Runs in ONNX Runtime; weights are those of the file throughout.
"""

import argparse

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper


class Network:
    def __init__(self, path: str):
        self.model = onnx.load(path)
        self.constants = {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}
        self.quantizers = {n.output[0]: n for n in self.model.graph.node if n.op_type == "QuantizeLinear"}

    def rounding(self, kept) -> onnx.ModelProto:
        """Without the roundings of all tensors but those in `kept`; ReLUs that are clamps of codes stay."""
        nodes, real = [], {}
        for node in self.model.graph.node:
            if node.op_type == "QuantizeLinear" and node.output[0] not in kept:
                zero = self.constants[node.input[2]]
                real[node.output[0]] = f"{node.output[0]}.real"
                op = "Relu" if zero == np.iinfo(zero.dtype).min else "Identity"
                node = helper.make_node(op, [node.input[0]], [real[node.output[0]]])
            elif node.op_type == "DequantizeLinear" and node.input[0] in real:
                node = helper.make_node("Identity", [real[node.input[0]]], list(node.output))
            nodes.append(node)
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        return model


def run(model: onnx.ModelProto, inputs: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """Each of `names` for all pictures, `[pictures, values]`."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(helper.make_tensor_value_info(n, 1, None) for n in names if n not in known)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    own = session.get_inputs()[0].name
    found = [session.run(names, {own: picture[None]}) for picture in inputs]
    return [np.stack([values[at].ravel() for values in found]).astype(np.float64) for at in range(len(names))]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model")
    arguments.add_argument("inputs")
    arguments.add_argument("output")
    arguments.add_argument("--least", type=float, default=0.9995, help="tensors with a cosine above are left out")
    given = arguments.parse_args()
    network, inputs = Network(given.model), np.load(given.inputs)
    made = {name: node.input[0] for name, node in network.quantizers.items()}
    real, *values = run(network.rounding(()), inputs, [given.output, *made.values()])
    [whole] = run(network.rounding(made), inputs, [given.output])
    print(f"{len(inputs)} pictures, {given.output}; all rounded: cosine {cosine(real, whole):.4f}")
    rows = []
    for (name, node), own in zip(network.quantizers.items(), values):
        [rounded] = run(network.rounding((name,)), inputs, [given.output])
        largest = np.abs(own).max(1)
        step = float(network.constants[node.input[1]])
        rows.append((cosine(real, rounded), name, step, float(np.median(largest)), float(largest.max())))
    for found, name, step, usual, most in sorted(rows):
        if found <= given.least:
            print(f"{name:40} {found:.4f}  step {step:.3g}, largest {usual:.3g} in the median picture, {most:.3g} in all")


if __name__ == "__main__":
    main()
