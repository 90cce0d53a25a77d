#!/usr/bin/env python3
"""Holds what our engine computed to ONNX Runtime, OpenVINO and the meaning of the file.

usage: onnx_qdq.py DIR [--nodes]      DIR as written by `exporter dump BUNDLE --out DIR`; --nodes: no whole runs

    DIR/model.onnx
    DIR/0/input.npy  DIR/0/activations/<tensor>.q.npy  DIR/0/outputs/<output>.npy      a slash in a name is %2F
    DIR/1/...

Node by node: the file is cut at every QuantizeLinear, and each piece reads OUR codes, in ONNX Runtime and in f64
(exact.py). So an early difference cannot grow into later ones, and nothing depends on which processor trained the
network. Asked for:
  1. Every code of ours, and every one of ONNX Runtime's, is the nearest to the exact real number, give or take TIE of
     the magnitudes that were added up: f32 arithmetic may put a number that lies on a tie on either side, none else.
  2. So ours and ONNX Runtime's differ by at most one step, and only at ties. That is checked too.
  3. Float outputs are within TIE of the magnitudes they are made of.
  4. Where our integer definition says every bit (integers.py), ours are those bits.
Whole runs, on the picture alone, where what differs at a tie goes on through all layers:
  5. Ours and ONNX Runtime's are no further apart (root mean square, each activation and output of at least FEW values)
     than two runs whose roundings have nothing in common: √2 of what ONNX Runtime's and the same file without
     activation rounding are.
  6. OpenVINO reads the file to the same meaning: computed as it is written, without the fusing into int8 kernels of its
     own, outputs of at least FEW values have a cosine of LEAST_COSINE with ours. As OpenVINO would run it, with those
     kernels, it loads too; that cosine is told and not held: they drop roundings, and saturate where there is no VNNI.
Prints one JSON object; exit 1 if anything is off.

On x86-64 without VNNI, ONNX Runtime multiplies u8 by s8 with `vpmaddubsw`, whose 16-bit sums saturate: on one
3x3 convolution with large weights 60 % of its results are wrong, by up to 5 steps. With the session option
`session.x64quantprecision` it computes exactly, as it does by default where there is VNNI. We ask for that.
Its optimizer WeightBiasQuantization rounds the weights of layers that were left in float on purpose: switched off.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort
import openvino
from onnx import TensorProto, helper, numpy_helper

from exact import Exact, Unknown
from integers import MOVES, Definition

# Eight roundings to f32 of the sum of magnitudes: two ratios, two products and two sums are six.
TIE = 8 * 2.0**-24
FEW = 64
FAR = 2**0.5
LEAST_COSINE = 0.999


def quantizers(model):
    """Codes' tensor → the node that makes them."""
    return {n.output[0]: n for n in model.graph.node if n.op_type == "QuantizeLinear"}


def zero_kind(model, node):
    return next(t.data_type for t in model.graph.initializer if t.name == node.input[2])


def copy(model):
    other = onnx.ModelProto()
    other.CopyFrom(model)
    return other


def with_codes(model):
    """The model with the output of every QuantizeLinear as a graph output."""
    model = copy(model)
    for name, node in quantizers(model).items():
        model.graph.output.append(helper.make_tensor_value_info(name, zero_kind(model, node), None))
    return model


def cut(model, shapes):
    """[`with_codes`], each DequantizeLinear of codes reading a graph input `<codes>.fed` instead."""
    model = with_codes(model)
    made = quantizers(model)
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in made:
            node.input[0] += ".fed"
    read = {name for node in model.graph.node for name in node.input}
    for name, node in made.items():
        if f"{name}.fed" in read:
            kind = zero_kind(model, node)
            model.graph.input.append(helper.make_tensor_value_info(f"{name}.fed", kind, shapes[name]))
    return model


def unrounded(model):
    """The model with activations clamped to what their codes can hold, but not rounded; `<codes>.real` are outputs."""
    model = copy(model)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    made, nodes = quantizers(model), []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = (constants[name] for name in node.input[1:3])
            limits, real = np.iinfo(zero.dtype), f"{node.output[0]}.real"
            ends = [(end - int(zero)) * float(scale) for end in (limits.min, limits.max)]
            for which, end in zip(("lo", "hi"), ends):
                model.graph.initializer.append(numpy_helper.from_array(np.float32(end), f"{real}.{which}"))
            node = helper.make_node("Clip", [node.input[0], f"{real}.lo", f"{real}.hi"], [real])
            model.graph.output.append(helper.make_tensor_value_info(real, TensorProto.FLOAT, None))
        elif node.op_type == "DequantizeLinear" and node.input[0] in made:
            node = helper.make_node("Identity", [f"{node.input[0]}.real"], [node.output[0]])
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(
        model.SerializeToString(),
        options,
        ["CPUExecutionProvider"],
        disabled_optimizers=["WeightBiasQuantization"],
    )


def run(engine, inputs):
    names = [o.name for o in engine.get_outputs()]
    return dict(zip(names, engine.run(names, inputs)))


def nearest(codes, real, magnitude, lo, hi):
    """Whether each code is the nearest to the real number, ties either way."""
    distance = np.abs(codes.reshape(real.shape).astype(np.float64) - np.clip(real, lo, hi))
    return distance <= 0.5 + TIE * magnitude


class Picture:
    """One dumped run of ours."""

    def __init__(self, folder, model):
        self.name, self.image = folder.name, np.load(folder / "input.npy")
        kinds = {name: helper.tensor_dtype_to_np_dtype(zero_kind(model, n)) for name, n in quantizers(model).items()}
        self.codes, made = {}, producers(model)
        for name, kind in kinds.items():
            codes = self.again(model, made, folder / "activations", name)
            self.codes[name] = (load(folder / "activations", name) if codes is None else codes).astype(kind)
        self.outputs = {o.name: load(folder / "outputs", o.name) for o in model.graph.output}

    def again(self, model, made, folder, name):
        """The codes of a tensor that our engine does not make, because they are those of another in another shape: between
        two quantizations of one scale and zero point nothing changes a value."""
        if (folder / file_of(name)).exists():
            return None
        node = made[name]
        source = made.get(node.input[0])
        while source is not None and source.op_type in MOVES:
            source = made.get(source.input[0])
        if source is None or source.op_type != "DequantizeLinear" or source.input[0] not in self.codes:
            return None
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        same = all((constants[a] == constants[b]).all() for a, b in zip(node.input[1:], source.input[1:]))
        # What was moved and scaled lies on the steps.
        return np.rint(Exact(model, self.codes, {}).scaled(node)[0]) if same else None

    def onnxruntimes(self, model):
        """What ONNX Runtime makes of our codes, each operator's result by name."""
        engine = session(cut(model, {name: codes.shape for name, codes in self.codes.items()}))
        wanted = {i.name for i in engine.get_inputs()}
        fed = {f"{name}.fed": codes for name, codes in self.codes.items() if f"{name}.fed" in wanted}
        return run(engine, {model.graph.input[0].name: self.image, **fed})

    def steps(self, theirs):
        """Tensor → how many steps each code of ours is from ONNX Runtime's."""
        return {name: np.abs(ours.astype(int) - theirs[name].astype(int).reshape(ours.shape)) for name, ours in self.codes.items()}

    def node_by_node(self, model):
        """What of this run is not what the file means, or not what ONNX Runtime makes of the same inputs."""
        theirs = self.onnxruntimes(model)
        apart, exact = self.steps(theirs), Exact(model, self.codes, {model.graph.input[0].name: self.image})
        definition = Definition(exact)
        report = {"picture": self.name, "tensors": 0, "values": 0, "ties": 0, "off_by_one": 0, "worst_steps": 0}
        report |= {"wrong": {}, "wrong_in_ort": {}, "apart": {}, "wrong_outputs": {}, "without_definition": []}
        report |= {"to_the_bit": 0, "other_bits": {}, "rough_in_ort": {}}
        for name, node in quantizers(model).items():
            ours, other, steps = self.codes[name], theirs[name], apart[name]
            report["tensors"] += 1
            report["values"] += int(ours.size)
            report["off_by_one"] += int((steps == 1).sum())
            report["worst_steps"] = max(report["worst_steps"], int(steps.max()))
            note(report["apart"], name, steps > 1)
            try:
                real, magnitude, lo, hi = exact.scaled(node)
            except Unknown as reason:
                report["without_definition"].append(f"{name}: {reason}")
                continue
            inside = (real > lo) & (real < hi)
            report["ties"] += int((inside & (np.abs(real - np.floor(real) - 0.5) <= TIE * magnitude)).sum())
            note(report["wrong"], name, ~nearest(ours, real, magnitude, lo, hi))
            of = "rough_in_ort" if fused_softmax(model, node) else "wrong_in_ort"
            note(report[of], name, ~nearest(other, real, magnitude, lo, hi))
            defined = definition.codes_of(node)
            if defined is not None:
                report["to_the_bit"] += 1
                note(report["other_bits"], name, ours.reshape(defined.shape) != defined)
        for name, ours in self.outputs.items():
            try:
                real, magnitude = exact.of(name)
            except Unknown as reason:
                report["without_definition"].append(f"{name}: {reason}")
                continue
            for side, found in (("ours", ours), ("onnxruntime", theirs[name])):
                off = np.abs(found.reshape(real.shape) - real) > TIE * magnitude
                note(report["wrong_outputs"], f"{name}, {side}", off)
        faults = [report[of] for of in ("wrong", "wrong_in_ort", "apart", "wrong_outputs", "other_bits")]
        report["ok"] = report["tensors"] > 0 and not any(faults)
        return report


def producers(model):
    """Tensor → the node that makes it."""
    return {output: node for node in model.graph.node for output in node.output}


def fused_softmax(model, node):
    """A softmax of codes is ONNX Runtime's QLinearSoftmax, which takes 1 / scale for a whole number: up to a step off."""
    made = producers(model)
    softmax = made.get(node.input[0])
    source = softmax is not None and softmax.op_type == "Softmax" and made.get(softmax.input[0])
    return bool(source) and source.op_type == "DequantizeLinear"


def file_of(name):
    return name.replace("%", "%25").replace("/", "%2F") + ".npy"


def load(folder, name):
    path = folder / file_of(name)
    if not path.exists():
        raise SystemExit(f"{path}: missing, expected the values of {name}")
    return np.load(path)


def note(faults, name, off):
    if off.any():
        faults[name] = int(off.sum())


def whole_runs(model, pictures):
    """Ours against ONNX Runtime's from the picture on: the difference over what rounding does, each tensor."""
    rounded, smooth = session(with_codes(model)), session(unrounded(model))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    apart, noise, values = {}, {}, {}
    worst_steps = 0
    for picture in pictures:
        image = {model.graph.input[0].name: picture.image}
        theirs, real = run(rounded, image), run(smooth, image)
        for name, node in quantizers(model).items():
            scale, zero = (constants[constant].astype(np.float64) for constant in node.input[1:3])
            ours, other = (codes.astype(np.float64).reshape(-1) for codes in (picture.codes[name], theirs[name]))
            worst_steps = max(worst_steps, int(np.abs(ours - other).max()))
            add(apart, name, ours - other)
            add(noise, name, other - zero - real[f"{name}.real"].reshape(-1) / scale)
            values[name] = values.get(name, 0) + ours.size
        for name, ours in picture.outputs.items():
            other = theirs[name].reshape(-1).astype(np.float64)
            add(apart, name, ours.reshape(-1) - other)
            add(noise, name, other - real[name].reshape(-1))
            values[name] = values.get(name, 0) + ours.size
    ratios = {name: float(np.sqrt(apart[name] / max(noise[name], 1e-30))) for name in apart if values[name] >= FEW}
    worst = max(ratios, key=ratios.get)
    return {"worst_steps": worst_steps, "tensors": len(ratios), "worst": worst, "of_rounding": ratios[worst],
            "ok": len(ratios) > 0 and ratios[worst] <= FAR}


def add(sums, name, difference):
    sums[name] = sums.get(name, 0.0) + float(np.square(difference).sum())


def openvino_report(path, pictures, outputs):
    """OpenVINO loads and runs the file, as written and in int8; cosine of its outputs with ours, all pictures as one
    vector. Of a handful of logits a cosine says nothing; they are made of the embedding, which is an output too."""
    report = {"version": openvino.__version__, "least": LEAST_COSINE}
    for how, fused in (("cosine", "NO"), ("cosine_int8", "YES")):
        # Without the hint it computes the float parts in bf16 where the CPU has it.
        options = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": fused}
        model = openvino.compile_model(openvino.Core().read_model(path), "CPU", options)
        found = [model(picture.image) for picture in pictures]
        report[how] = {}
        for name in outputs:
            ours = np.concatenate([picture.outputs[name].reshape(-1) for picture in pictures])
            theirs = np.concatenate([values[name].reshape(-1) for values in found])
            if ours.size >= FEW:
                report[how][name] = float(ours @ theirs / max(np.linalg.norm(ours) * np.linalg.norm(theirs), 1e-30))
    cosines = report["cosine"].values()
    return report | {"ok": len(cosines) > 0 and all(cosine >= LEAST_COSINE for cosine in cosines)}


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--nodes"]):
        raise SystemExit(__doc__)
    root = pathlib.Path(sys.argv[1])
    model = onnx.load(root / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    folders = sorted((p for p in root.iterdir() if (p / "input.npy").exists()), key=lambda p: int(p.name))
    if not folders:
        raise SystemExit(f"{root}: no pictures, expected {root}/0/input.npy and so on")
    pictures = [Picture(folder, model) for folder in folders]
    nodes = [picture.node_by_node(model) for picture in pictures]
    report = {"onnxruntime": ort.__version__, "pictures": nodes, "ok": all(p["ok"] for p in nodes)}
    if len(sys.argv) == 2:
        outputs = [o.name for o in model.graph.output]
        report["whole_runs"] = whole_runs(model, pictures)
        report["openvino"] = openvino_report(root / "model.onnx", pictures, outputs)
        report["ok"] &= report["whole_runs"]["ok"] and report["openvino"]["ok"]
    print(json.dumps(report, indent=1))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
