#!/usr/bin/env python3
"""Our quantization beside ONNX Runtime's quantize_static: same network, same images, same judge.

usage: ptq_compare.py FLOAT.onnx CALIBRATION.npy TEST.npy OURS.onnx [OURS2.onnx ...] [--json OUT.json]

FLOAT.onnx as written by `exporter onnx` (batch normalisations folded), the .npy files network inputs
[N, 1, H, W] as written by `exporter inputs`, OURS.onnx by `exporter onnx --int8`. All models run in
ONNX Runtime, with exact int8 sums (see onnx_qdq.py). For every network output and every activation both
quantizers round: the ratio of signal to quantization noise (SQNR) in dB against the float network, over
all test images. Prints one JSON object a quantizer, then one with the verdict; a table for people on stderr.
"""

import contextlib
import json
import pathlib
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

THEIRS = (
    ("ort minmax", CalibrationMethod.MinMax),
    ("ort percentile", CalibrationMethod.Percentile),
    ("ort entropy", CalibrationMethod.Entropy),
)


class Images(CalibrationDataReader):
    def __init__(self, images, name):
        self.name, self.rest = name, iter(images)

    def get_next(self):
        image = next(self.rest, None)
        return None if image is None else {self.name: image[None]}


def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(
        model.SerializeToString(),
        options,
        ["CPUExecutionProvider"],
        disabled_optimizers=["WeightBiasQuantization"],
    )


def rounded_tensors(model):
    """Float tensor → the tensor that holds it after rounding, as real numbers."""
    codes = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    found = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in codes:
            name = codes[node.input[0]].removesuffix("_QuantizeLinear_Input")
            found.setdefault(name, node.output[0])
    return found


def with_outputs(model, names):
    known = {o.name for o in model.graph.output}
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names if n not in known
    )
    return extended


def ratios(float_model, model, tensors, images):
    """SQNR of `tensors` (name in the float model → name in `model`), over all images."""
    theirs = {ours: name for name, ours in tensors.items()}
    reference = session(with_outputs(float_model, tensors))
    rounded = session(with_outputs(model, theirs))
    signal, noise = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    for image in images:
        expected = reference.run(list(tensors), {reference.get_inputs()[0].name: image[None]})
        found = rounded.run(list(tensors.values()), {rounded.get_inputs()[0].name: image[None]})
        for name, x, y in zip(tensors, expected, found):
            x, y = x.astype(np.float64).reshape(-1), y.astype(np.float64).reshape(-1)
            signal[name] += float(np.square(x).sum())
            noise[name] += float(np.square(x - y).sum())
    return {n: round(float(10 * np.log10(max(signal[n], 1e-30) / max(noise[n], 1e-30))), 2) for n in tensors}


def theirs(prepared, calibration, name, folder):
    """Label, model and seconds of each of ONNX Runtime's calibrations."""
    for label, method in THEIRS:
        path, start = pathlib.Path(folder) / f"{label.replace(' ', '-')}.onnx", time.monotonic()
        quantize_static(
            str(prepared),
            str(path),
            Images(calibration, name),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=method,
            extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
        )
        yield label, onnx.load(path), round(time.monotonic() - start, 1)


def table(reports, layers):
    """Outputs, the mean over them, and the layers: mean, worst, and the five where we differ most."""
    rows = [("", *(r["quantizer"] for r in reports))]
    rows += [(f"output {n}", *(r["outputs"][n] for r in reports)) for n in reports[0]["outputs"]]
    rows.append(("mean of outputs", *(r["mean_output_db"] for r in reports)))
    rows.append((f"mean of {len(layers)} activations", *(r["mean_layer_db"] for r in reports)))
    rows.append(("worst activation", *(min(r["layers"][n] for n in layers) for r in reports)))
    worst = sorted(layers, key=lambda n: min(r["layers"][n] for r in reports))[:5]
    rows += [(f"  {n}", *(r["layers"][n] for r in reports)) for n in worst]
    widths = [max(len(str(row[at])) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = [str(row[0]).ljust(widths[0])] + [str(c).rjust(w) for c, w in zip(row[1:], widths[1:])]
        print("  ".join(cells), file=sys.stderr)


def main():
    args, out = sys.argv[1:], None
    if "--json" in args:
        at = args.index("--json")
        out = pathlib.Path(args[at + 1])
        del args[at : at + 2]
    if len(args) < 4:
        raise SystemExit(__doc__)
    float_model, calibration, test = onnx.load(args[0]), np.load(args[1]), np.load(args[2])
    models = []
    with tempfile.TemporaryDirectory() as folder:
        prepared = pathlib.Path(folder) / "prepared.onnx"
        # It talks on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            quant_pre_process(args[0], str(prepared), skip_symbolic_shape=True)
            models += list(theirs(prepared, calibration, float_model.graph.input[0].name, folder))
    models += [(f"ours {pathlib.Path(path).stem}", onnx.load(path), None) for path in args[3:]]

    outputs = [o.name for o in float_model.graph.output]
    made = {o for n in float_model.graph.node for o in n.output}
    layers = sorted(set.intersection(made, *(set(rounded_tensors(m)) for _, m, _ in models)) - set(outputs))
    reports = []
    for label, model, seconds in models:
        own = rounded_tensors(model)
        found = ratios(float_model, model, {n: n for n in outputs} | {n: own[n] for n in layers}, test)
        report = {
            "quantizer": label,
            "seconds": seconds,
            "mean_output_db": round(sum(found[n] for n in outputs) / len(outputs), 2),
            "mean_layer_db": round(sum(found[n] for n in layers) / max(len(layers), 1), 2),
            "outputs": {n: found[n] for n in outputs},
            "layers": {n: found[n] for n in layers},
        }
        print(json.dumps(report), flush=True)
        reports.append(report)
    table(reports, layers)
    best = {
        side: max((r for r in reports if r["quantizer"].startswith(side)), key=lambda r: r["mean_output_db"])
        for side in ("ort", "ours")
    }
    verdict = {
        "images": len(test),
        "calibration_images": len(calibration),
        "best": {side: [r["quantizer"], r["mean_output_db"]] for side, r in best.items()},
        "ahead_db": round(best["ours"]["mean_output_db"] - best["ort"]["mean_output_db"], 2),
        "ahead_on_activations_db": round(
            best["ours"]["mean_layer_db"] - max(r["mean_layer_db"] for r in reports if r["seconds"] is not None), 2
        ),
        "activations_where_ours_is_closer": sum(best["ours"]["layers"][n] > best["ort"]["layers"][n] for n in layers),
        "activations": len(layers),
    }
    print(json.dumps(verdict))
    if out:
        out.write_text(json.dumps({"verdict": verdict, "quantizers": reports}, indent=1))


if __name__ == "__main__":
    main()
