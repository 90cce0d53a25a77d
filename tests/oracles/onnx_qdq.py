#!/usr/bin/env python3
"""Runs a bundle's model.onnx in ONNX Runtime and compares it with what our engine computed.

usage: onnx_qdq.py DIR      DIR as written by `exporter dump BUNDLE --out DIR`

    DIR/model.onnx
    DIR/0/input.npy  DIR/0/activations/<tensor>.q.npy  DIR/0/outputs/<output>.npy
    DIR/1/...

Every activation must equal ONNX Runtime's within one quantization step, every float output within
what one step of the values it is made of can do. Prints one JSON object; exit 1 if anything is off.

On x86-64 without VNNI, ONNX Runtime multiplies u8 by s8 with `vpmaddubsw`, whose 16-bit sums saturate: on one
3x3 convolution with large weights 60 % of its results are wrong, by up to 5 steps. With the session option
`session.x64quantprecision` it computes exactly, as it does by default where there is VNNI. We ask for that.
Its optimizer WeightBiasQuantization rounds the weights of layers that were left in float on purpose: switched off.

OpenVINO must load the same file, and each of its outputs have a cosine of LEAST_COSINE with ours.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort
import openvino
from onnx import TensorProto, helper, numpy_helper


LEAST_COSINE = 0.99


def with_activations(model):
    """The model with the output of every QuantizeLinear as a graph output, and their names."""
    initializers = {t.name: t for t in model.graph.initializer}
    taken = {o.name for o in model.graph.output}
    names = []
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or node.output[0] in taken:
            continue
        kind = initializers[node.input[2]].data_type
        model.graph.output.append(helper.make_tensor_value_info(node.output[0], kind, None))
        names.append(node.output[0])
    return model, names


def tolerances(model):
    """Largest acceptable difference of each float output: one step of what it is computed from."""
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    maker = {o: n for n in model.graph.node for o in n.output}
    result = {}
    for output in model.graph.output:
        if output.type.tensor_type.elem_type != TensorProto.FLOAT:
            continue
        node = maker[output.name]
        if node.op_type == "DequantizeLinear":
            result[output.name] = 1.001 * float(values[node.input[1]])
            continue
        x, w = (maker[name] for name in node.input[:2])
        weight = values[w.input[0]].astype(np.float64)
        scale = values[w.input[1]].astype(np.float64)
        rows = np.abs(weight).reshape(len(scale), -1).sum(axis=1) * scale
        # All inputs one step off at once would be the sum; a hundredth of it is far above rounding.
        result[output.name] = 0.01 * float(rows.max() * values[x.input[1]]) + 1e-5
    return result


def session(model, level):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(
        model.SerializeToString(),
        options,
        ["CPUExecutionProvider"],
        disabled_optimizers=["WeightBiasQuantization"],
    )


def compare(folder, engine, outputs, names, allowed):
    image = np.load(folder / "input.npy")
    found = dict(zip(outputs + names, engine.run(outputs + names, {engine.get_inputs()[0].name: image})))
    report = {"picture": folder.name, "tensors": 0, "values": 0, "off_by_one": 0, "worst_steps": 0, "worst": None}
    for name in names:
        path = folder / "activations" / f"{name}.npy"
        if not path.exists():
            raise SystemExit(f"{path}: missing, expected the activation {name}")
        ours, theirs = np.load(path), found[name]
        if ours.size != theirs.size:
            raise SystemExit(f"{path}: shape {ours.shape}, ONNX Runtime has {theirs.shape}")
        steps = np.abs(ours.reshape(-1).astype(int) - theirs.reshape(-1).astype(int))
        report["tensors"] += 1
        report["values"] += int(steps.size)
        report["off_by_one"] += int((steps == 1).sum())
        if steps.max() > report["worst_steps"]:
            report["worst_steps"], report["worst"] = int(steps.max()), name
    report["outputs"] = {}
    for name in outputs:
        ours, theirs = np.load(folder / "outputs" / f"{name}.npy"), found[name]
        difference = float(np.abs(ours.reshape(-1) - theirs.reshape(-1)).max())
        report["outputs"][name] = {"difference": difference, "allowed": allowed[name]}
    fine = all(o["difference"] <= o["allowed"] for o in report["outputs"].values())
    report["ok"] = report["worst_steps"] <= 1 and fine and report["tensors"] > 0
    return report


def openvino_report(path, folders, outputs):
    """OpenVINO loads and runs the file; cosine of its outputs with ours.

    It rewrites the graph and drops intermediate roundings, so it is as far from ONNX Runtime as from us.
    """
    # Without the hint it computes the float parts in bf16 where the CPU has it.
    model = openvino.compile_model(openvino.Core().read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    worst = {name: 1.0 for name in outputs}
    for folder in folders:
        found = model(np.load(folder / "input.npy"))
        for name in outputs:
            ours, theirs = np.load(folder / "outputs" / f"{name}.npy").reshape(-1), found[name].reshape(-1)
            cosine = float(ours @ theirs / max(np.linalg.norm(ours) * np.linalg.norm(theirs), 1e-30))
            worst[name] = min(worst[name], cosine)
    ok = all(cosine >= LEAST_COSINE for cosine in worst.values())
    return {"version": openvino.__version__, "worst_cosine": worst, "least": LEAST_COSINE, "ok": ok}


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    root = pathlib.Path(sys.argv[1])
    model = onnx.load(root / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    outputs = [o.name for o in model.graph.output]
    allowed = tolerances(model)
    folders = sorted((p for p in root.iterdir() if (p / "input.npy").exists()), key=lambda p: int(p.name))
    if not folders:
        raise SystemExit(f"{root}: no pictures, expected {root}/0/input.npy and so on")
    extended, names = with_activations(onnx.load(root / "model.onnx"))
    engine = session(extended, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    pictures = [compare(folder, engine, outputs, names, allowed) for folder in folders]
    vino = openvino_report(root / "model.onnx", folders, outputs)
    ok = all(p["ok"] for p in pictures) and vino["ok"]
    print(json.dumps({"ok": ok, "onnxruntime": ort.__version__, "openvino": vino, "pictures": pictures}, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
