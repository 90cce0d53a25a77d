"""The same network as ncnn's two files, from our QDQ ONNX: `ncnn_model.py MODEL.onnx MODEL.param`, and MODEL.bin beside it.

ncnn's own tools for eight bits (`ncnn2table`, `ncnn2int8`) are not in its wheel, so this writes what they write. Weights and
biases are those of the ONNX file. ncnn has no zero points: an input's scale is what its furthest value asks for. Between two
convolutions bytes stay bytes; additions and pooling are in float there, as ncnn has no others.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

#: The first line of a .param file, and what marks weights of eight bits in a .bin file.
MAGIC, INT8 = "7767517", 0x000D4B38
#: "int8_scale_term" of a convolution whose result is floats, and of one whose result is bytes.
TO_FLOATS, TO_BYTES = 1, 101


class Converter:
    def __init__(self, model: onnx.ModelProto):
        self.graph = model.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.quantizers = {node.input[0]: node for node in self.graph.node if node.op_type == "QuantizeLinear"}
        #: Who reads a float or, what is one here, the bytes made of it.
        self.readers: dict[str, list] = {}
        for node in self.graph.node:
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                for name in node.input:
                    self.readers.setdefault(plain(name), []).append(node)
        #: For each reader of a tensor, a blob of its own.
        self.blobs: dict[str, list[str]] = {}
        self.lines: list[str] = []
        self.numbers = bytearray()

    def layer(self, kind: str, inputs: list[str], outputs: list[str], parameters: dict[int, int]) -> None:
        words = [kind, f"{kind}.{len(self.lines)}", len(inputs), len(outputs), *inputs, *outputs]
        self.lines.append(" ".join(map(str, words + [f"{key}={value}" for key, value in parameters.items()])))

    def result(self, name: str, kind: str, inputs: list[str], parameters: dict[int, int]) -> None:
        """A layer, and a Split behind it where several read its result."""
        self.layer(kind, inputs, [name], parameters)
        self.blobs[name] = [name]
        if (readers := len(self.readers.get(name, []))) > 1:
            self.blobs[name] = [f"{name}.{copy}" for copy in range(readers)]
            self.layer("Split", [name], self.blobs[name], {})

    def is_relu(self, name: str) -> bool:
        """A zero point of zero is a ReLU, as in the ONNX file."""
        return name in self.quantizers and int(self.constants[self.quantizers[name].input[2]]) == 0

    def floats(self, values) -> None:
        self.numbers += np.ascontiguousarray(values, np.float32).tobytes()

    def input_scale(self, name: str) -> None:
        """What ncnn multiplies a tensor by before it rounds."""
        scale, zero = (self.constants[key] for key in self.quantizers[plain(name)].input[1:])
        self.floats(127 / (max(int(zero), 255 - int(zero)) * float(scale)))

    def weights(self, node) -> tuple[int, int]:
        """Writes weights, biases and scales; says how many outputs and weights there are."""
        name, bias = (plain(one) for one in node.input[1:3])
        w = self.constants[f"{name}.q"]
        assert not np.any(self.constants[f"{name}.zero"]), f"{name} has zero points, expected symmetric weights"
        self.numbers += INT8.to_bytes(4, "little") + w.tobytes() + bytes(-w.size % 4)
        self.floats(self.constants[f"{bias}.q"] * self.constants[f"{bias}.scale"])
        self.floats(1 / self.constants[f"{name}.scale"])
        self.input_scale(node.input[0])
        return w.shape[0], w.size

    def convolution(self, out: str, node, attributes: dict, inputs: list[str]) -> None:
        assert attributes["group"] == 1 and attributes["dilations"] == [1, 1], f"{out}: groups and dilations are not converted"
        (top, left, bottom, right), (down, across) = attributes["pads"], attributes["strides"]
        height, width = attributes["kernel_shape"]
        outputs, size = self.weights(node)
        term = TO_BYTES if all(reader.op_type == "Conv" for reader in self.readers[out]) else TO_FLOATS
        if term == TO_BYTES:
            self.input_scale(out)
        window = {1: width, 11: height, 3: across, 13: down, 4: left, 14: top, 15: right, 16: bottom}
        self.result(out, "Convolution", inputs, {0: outputs, **window, 5: 1, 6: size, 8: term, 9: int(self.is_relu(out))})

    def node(self, node) -> None:
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        kind, out = node.op_type, node.output[0]
        if kind in ("QuantizeLinear", "DequantizeLinear"):
            return
        inputs = [self.blobs[plain(name)].pop() for name in node.input if plain(name) in self.blobs]
        if kind == "Conv":
            self.convolution(out, node, attributes, inputs)
        elif kind == "Gemm":
            outputs, size = self.weights(node)
            self.result(out, "InnerProduct", inputs, {0: outputs, 1: 1, 2: size, 8: TO_FLOATS})
        elif kind == "Add" and self.is_relu(out):
            self.result(f"{out}.sum", "BinaryOp", inputs, {0: 0})
            self.result(out, "ReLU", [f"{out}.sum"], {})
        elif kind == "Add":
            self.result(out, "BinaryOp", inputs, {0: 0})
        elif kind == "MaxPool":
            (top, left, bottom, right), (down, across) = attributes["pads"], attributes["strides"]
            height, width = attributes["kernel_shape"]
            window = {1: width, 11: height, 2: across, 12: down, 3: left, 13: top, 14: right, 15: bottom}
            self.result(out, "Pooling", inputs, {0: 0, **window, 5: 1})
        elif kind == "GlobalAveragePool":
            self.result(out, "Pooling", inputs, {0: 1, 4: 1})
        elif kind == "Flatten":
            self.result(out, "Reshape", inputs, {0: -1})
        else:
            raise NotImplementedError(f"{kind} ({out})")

    def convert(self) -> tuple[str, bytes]:
        (entry,) = self.graph.input
        _, channels, height, width = (side.dim_value for side in entry.type.tensor_type.shape.dim)
        self.result(entry.name, "Input", [], {0: width, 1: height, 2: channels})
        for node in self.graph.node:
            self.node(node)
        blobs = sum(int(line.split()[3]) for line in self.lines)
        return "\n".join([MAGIC, f"{len(self.lines)} {blobs}", *self.lines, ""]), bytes(self.numbers)


def plain(name: str) -> str:
    """The float that `name` stands for: `x` for `x.dq`."""
    return name.removesuffix(".dq")


def write(model: Path, to: Path) -> Path:
    text, numbers = Converter(onnx.load(model)).convert()
    to.write_text(text)
    to.with_suffix(".bin").write_bytes(numbers)
    return to


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
