"""Every quantized activation of a QDQ model: ours against ONNX Runtime's.

usage: engine_ort.py MODEL.onnx INTERMEDIATES [SEED]
  INTERMEDIATES  the engine's example of that name (cargo build -p engine --example intermediates)

ONNX Runtime runs the file with graph optimisations off, so that each QuantizeLinear output exists, and again with
them on, as users run it. Steps are units of a tensor's quantization. With optimisations off ORT computes convolutions in
float, so sums that lie near a tie may round the other way, and what follows inherits that: within one step each layer,
checked by feeding ORT's own inputs back is not possible for ours, so we report how many values differ by how many steps
and fail if the largest difference exceeds LIMIT or more than SHARE of any tensor's values differ.
prints one JSON object; exit status 1 if they disagree.
"""
import json, subprocess, sys, tempfile
import numpy as np, onnx, onnxruntime as ort
from onnx import helper, TensorProto

LIMIT, SHARE = 1, 0.01


def ours(model, program, image):
    with tempfile.TemporaryDirectory() as folder:
        image.astype("<f4").tofile(f"{folder}/x.f32")
        subprocess.run([program, model, f"{folder}/x.f32", f"{folder}/out"], check=True)
        data = open(f"{folder}/out.bin", "rb").read()
        tensors, outputs = {}, {}
        for line in open(f"{folder}/out.tsv"):
            kind, name, shape, _, _, at, count = line.rstrip("\n").split("\t")
            shape = [int(n) for n in shape.split("x")]
            dtype, into = ("<i2", tensors) if kind == "q" else ("<f4", outputs)
            into[name] = np.frombuffer(data, dtype, int(count), int(at)).reshape(shape)
        return tensors, outputs


def theirs(model, names, image, level):
    m = onnx.load(model)
    known = {o.name for o in m.graph.output}
    types = {n.output[0]: zero_type(m, n) for n in m.graph.node if n.op_type == "QuantizeLinear"}
    wanted = [n for n in names if n not in known]
    m.graph.output.extend(helper.make_tensor_value_info(n, types[n], None) for n in wanted)
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    # Without it, CPUs without VNNI let 16-bit sums saturate: see onnx_qdq.py.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(None, {session.get_inputs()[0].name: image})
    return dict(zip([o.name for o in session.get_outputs()], values))


def zero_type(m, node):
    if len(node.input) < 3:
        return TensorProto.UINT8
    return next(t.data_type for t in m.graph.initializer if t.name == node.input[2])


def main():
    model, program = sys.argv[1], sys.argv[2]
    rng = np.random.default_rng(int(sys.argv[3]) if len(sys.argv) > 3 else 7)
    info = onnx.load(model).graph.input[0]
    shape = [d.dim_value or 1 for d in info.type.tensor_type.shape.dim]
    image = rng.standard_normal(shape).astype(np.float32)
    tensors, outputs = ours(model, program, image)
    result, good = {"model": model}, True
    optimised = theirs(model, list(tensors), image, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    worst, differing, count, tensor_share = 0, 0, 0, 0.0
    for name, q in tensors.items():
        d = np.abs(q.astype(int) - optimised[name].astype(int).reshape(q.shape))
        worst, differing, count = max(worst, int(d.max())), differing + int((d > 0).sum()), count + d.size
        tensor_share = max(tensor_share, float((d > 0).mean()))
    result["activations"] = {"tensors": len(tensors), "values": count, "largest_step": worst,
                             "differing": differing, "largest_share_of_a_tensor": round(tensor_share, 6)}
    plain = theirs(model, [], image, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    result["outputs"] = {}
    for name, y in outputs.items():
        difference = float(np.abs(y - plain[name].reshape(y.shape)).max())
        result["outputs"][name] = {"largest_difference": difference, "range": float(np.ptp(plain[name]))}
    result["agree"] = worst <= LIMIT and tensor_share <= SHARE
    print(json.dumps(result))
    return 0 if result["agree"] else 1


sys.exit(main())
