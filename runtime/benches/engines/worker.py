"""One engine in a process of its own, timed when told to: `worker.py ENGINE MODEL THREADS IMAGE [SHAPE]`.

Speaks as our own worker does (`runtime/engine/examples/alternate.rs`): `ready` once loaded, then for each line on
standard input one line on standard output. `N` runs N times and answers with N latencies in milliseconds, `outputs`
answers with the results as JSON, `memory` with the resident and the highest resident size in megabytes.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np


def onnxruntime(model: str, threads: int, image: np.ndarray, exact: bool = False):
    """As it comes. Without VNNI it multiplies with `vpmaddubsw`, whose 16-bit sums saturate: quick, and at times wrong."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1" if exact else "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name, outputs = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]
    return lambda: dict(zip(outputs, session.run(outputs, {name: image})))


def onnxruntime_exact(model: str, threads: int, image: np.ndarray):
    """With its setting for exact sums on processors without VNNI; elsewhere it changes nothing."""
    return onnxruntime(model, threads, image, exact=True)


def openvino(model: str, threads: int, image: np.ndarray):
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    compiled = ov.Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(image))
    names = [output.names for output in compiled.outputs]  # each a set: OpenVINO keeps a tensor's other names

    def run():
        request.infer()
        return {name: request.get_output_tensor(at).data for at, all_names in enumerate(names) for name in all_names}

    return run


def litert(model: str, threads: int, image: np.ndarray):
    """A TFLite file of `litert_model.py`; channels are last there."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=threads)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], image.reshape(entry["shape"]))
    outputs = [(detail["name"], interpreter.tensor(detail["index"])) for detail in interpreter.get_output_details()]

    def run():
        interpreter.invoke()
        return {name: np.moveaxis(values(), -1, 1) for name, values in outputs}

    return run


def ncnn(model: str, threads: int, image: np.ndarray):
    """The files of `ncnn_model.py`, as `ncnn` would run its own quantizer's."""
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = threads
    if network.load_param(model) or network.load_model(str(Path(model).with_suffix(".bin"))):
        raise SystemExit(f"error: ncnn does not read {model}")
    (entry,), outputs = network.input_names(), network.output_names()
    x = ncnn.Mat(image[0])

    def run():
        extractor = network.create_extractor()
        extractor.input(entry, x)
        return {name: np.array(extractor.extract(name)[1]) for name in outputs}

    return run


ENGINES = {"litert": litert, "ncnn": ncnn, "onnxruntime": onnxruntime, "onnxruntime-exact": onnxruntime_exact, "openvino": openvino}


def memory() -> str:
    fields = dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith(("VmRSS", "VmHWM")))
    return json.dumps({name: int(value.split()[0]) * 1024 / 1e6 for name, value in fields.items()})


def main() -> None:
    engine, model, threads, image, *shape = sys.argv[1:]
    shape = [int(side) for side in shape[0].split(",")] if shape else [1, -1, 224, 224]
    start = time.perf_counter()
    run = ENGINES[engine](model, int(threads), np.fromfile(image, np.float32).reshape(shape))
    run()
    print(f"load {1e3 * (time.perf_counter() - start):.1f}\nready", flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(memory(), flush=True)
        elif line.strip() == "outputs":
            print(json.dumps({name: np.asarray(values).ravel().tolist() for name, values in run().items()}), flush=True)
        else:
            latencies = []
            for _ in range(int(line)):
                start = time.perf_counter()
                run()
                latencies.append(1e3 * (time.perf_counter() - start))
            print(" ".join(f"{latency:.4f}" for latency in latencies), flush=True)


if __name__ == "__main__":
    main()
