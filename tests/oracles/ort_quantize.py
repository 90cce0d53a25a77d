"""A float ONNX file quantized by ONNX Runtime itself, and what ONNX Runtime makes of the result.

    python ort_quantize.py FLOAT.onnx INPUTS.npy QDQ.onnx      INPUTS is [N, C, H, W], float32

writes QDQ.onnx (activations u8, weights s8 by channel) and prints one line of JSON a picture: outputs by name.
"""

import json
import sys

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class Pictures(CalibrationDataReader):
    def __init__(self, name, pictures):
        self.left = iter([{name: picture[None]} for picture in pictures])

    def get_next(self):
        return next(self.left, None)


def main(float_file, inputs, qdq_file):
    pictures = np.load(inputs)
    name = ort.InferenceSession(float_file, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    quantize_static(
        float_file,
        qdq_file,
        Pictures(name, pictures),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    session = ort.InferenceSession(qdq_file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for picture in pictures:
        outputs = session.run(names, {name: picture[None]})
        print(json.dumps({name: values.flatten().tolist() for name, values in zip(names, outputs)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
