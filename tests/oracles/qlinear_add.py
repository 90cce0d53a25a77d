"""Which side rounds a residual addition otherwise at a tie, ours or ONNX Runtime's, and why.

usage: qlinear_add.py       prints one JSON object a case; every one of the 65,536 pairs of codes is added

    ours          rint(f32((a − za)·ra) + f32((b − zb)·rb)) + zc           ra = sa / sc, rb = sb / sc
    ONNX Runtime  rint(fma(a, ra, fma(b, rb, zc − (ra·za + rb·zb))))       MLAS on x86-64 with AVX2 and FMA
    unfused       rint(((a − za)·sa + (b − zb)·sb) / sc) + zc              DequantizeLinear, Add, QuantizeLinear in f32

Theirs has the output's zero point inside what it rounds, so ties go to the even CODE, ours to the even DISTANCE from
the zero point: with an odd zero point every exact tie differs. Where ratios are no short fractions, few sums come near
a tie, and which side they fall on is up to the last bit of each form.
"""

import json

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

F = np.float32


def onnx_runtime(sa, za, sb, zb, sc, zc, a, b, level):
    params = {"sa": F(sa), "sb": F(sb), "sc": F(sc), "za": np.uint8(za), "zb": np.uint8(zb), "zc": np.uint8(zc)}
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "sa", "za"], ["x"]),
        helper.make_node("DequantizeLinear", ["b", "sb", "zb"], ["y"]),
        helper.make_node("Add", ["x", "y"], ["z"]),
        helper.make_node("QuantizeLinear", ["z", "sc", "zc"], ["c"]),
    ]
    a_b, c = ([helper.make_tensor_value_info(n, TensorProto.UINT8, [1, a.size]) for n in names] for names in ("ab", "c"))
    constants = [numpy_helper.from_array(value, name) for name, value in params.items()]
    graph = helper.make_graph(nodes, "add", a_b, c, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, {"a": a[None], "b": b[None]})[0][0].astype(int)


def ours(sa, za, sb, zb, sc, zc, a, b):
    ra, rb = F(sa) / F(sc), F(sb) / F(sc)
    sums = (a.astype(F) - F(za)) * ra + (b.astype(F) - F(zb)) * rb
    return np.clip(np.rint(sums) + zc, 0, 255).astype(int)


def fma(x, y, z):
    """Exact in f64 but for the sum's last bits, then f32."""
    return F(np.float64(x) * np.float64(y) + np.float64(z))


def mlas(sa, za, sb, zb, sc, zc, a, b):
    ra, rb = F(sa) / F(sc), F(sb) / F(sc)
    fixed = F(F(zc) - fma(ra, za, F(rb * F(zb))))
    return np.clip(np.rint(fma(a, ra, fma(b, rb, fixed))), 0, 255).astype(int)


def main():
    rng = np.random.default_rng(1)
    drawn = lambda: (rng.uniform(0.01, 0.1), int(rng.integers(256)))
    cases = [(1, 0, 1, 0, 2, 0), (1, 128, 1, 128, 2, 128), (1, 0, 1, 0, 2, 1), (0.5, 3, 0.25, 7, 1, 5), (0.1, 102, 0.1, 149, 0.2, 0)]
    cases += [(*drawn(), *drawn(), *drawn()) for _ in range(40)]
    b, a = (codes.reshape(-1).astype(np.uint8) for codes in np.meshgrid(range(256), range(256)))
    for case in cases:
        fused = onnx_runtime(*case, a, b, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        unfused = onnx_runtime(*case, a, b, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        mine = ours(*case, a, b)
        print(json.dumps({
            "scales_and_zeros": [round(x, 4) for x in case],
            "onnx_runtime_is_not_ours": int((fused != mine).sum()),
            "onnx_runtime_is_not_mlas_formula": int((fused != mlas(*case, a, b)).sum()),
            "unfused_is_not_ours": int((unfused != mine).sum()),
            "most_steps": int(np.abs(fused - mine).max()),
        }))


main()
