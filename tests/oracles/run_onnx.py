"""Runs an ONNX file in ONNX Runtime, every operation as the file says it.

usage: run_onnx.py MODEL.onnx INPUT.npy      prints one JSON object: {output: [numbers, row by row]}
"""

import json
import sys

import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
# Fused operations round otherwise than the operations in the file.
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
options.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
values = session.run(None, {session.get_inputs()[0].name: np.load(sys.argv[2])})
print(json.dumps({o.name: v.ravel().tolist() for o, v in zip(session.get_outputs(), values)}))
