#!/usr/bin/env python3
"""Our quantization beside ONNX Runtime's quantize_static: same network, same images, same judge.

usage: ptq_compare.py FLOAT.onnx CALIBRATION.npy TEST.npy OURS.onnx [OURS2.onnx ...]

FLOAT.onnx as written by `exporter onnx` (batch normalisations folded), the .npy files network inputs
[N, 1, H, W] as written by `exporter inputs`, OURS.onnx by `exporter onnx --int8`. All models run in
ONNX Runtime. Prints one JSON object a line: for every network output the signal-to-noise ratio in dB
against the float network's, over all test images, and their mean.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process


class Images(CalibrationDataReader):
    def __init__(self, images, name):
        self.name, self.rest = name, iter(images)

    def get_next(self):
        image = next(self.rest, None)
        return None if image is None else {self.name: image[None]}


def outputs(path, images):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    name = session.get_inputs()[0].name
    runs = [session.run(names, {name: image[None]}) for image in images]
    return {n: np.concatenate([run[at].reshape(1, -1) for run in runs]) for at, n in enumerate(names)}


def report(label, path, expected, images):
    found = outputs(path, images)
    sqnr = {}
    for name, x in expected.items():
        noise = np.square(x.astype(np.float64) - found[name]).sum()
        sqnr[name] = round(float(10 * np.log10(np.square(x.astype(np.float64)).sum() / max(noise, 1e-30))), 2)
    mean = round(sum(sqnr.values()) / len(sqnr), 2)
    print(json.dumps({"quantizer": label, "mean_sqnr_db": mean, "sqnr_db": sqnr}), flush=True)


def main():
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    float_model, calibration, test = sys.argv[1], np.load(sys.argv[2]), np.load(sys.argv[3])
    expected = outputs(float_model, test)
    name = ort.InferenceSession(float_model, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    with tempfile.TemporaryDirectory() as folder:
        prepared = pathlib.Path(folder) / "prepared.onnx"
        quant_pre_process(float_model, str(prepared), skip_symbolic_shape=True)
        for label, method in (
            ("ort minmax", CalibrationMethod.MinMax),
            ("ort percentile", CalibrationMethod.Percentile),
            ("ort entropy", CalibrationMethod.Entropy),
        ):
            path = pathlib.Path(folder) / f"{label.replace(' ', '-')}.onnx"
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
            report(label, path, expected, test)
    for path in sys.argv[4:]:
        report(f"ours {pathlib.Path(path).stem}", path, expected, test)


if __name__ == "__main__":
    main()
