"""The same network as a TFLite file for LiteRT, from our QDQ ONNX: `litert_model.py MODEL.onnx MODEL.tflite`.

Scales, zero points, weights and biases are those of the ONNX file; TFLite's activations are signed, so 128 is taken off each
zero point, and its layouts have channels last. What has no quantized result there (heads) is computed in float, as TFLite has
no integer operator with a result in float. Nothing is calibrated or rounded anew.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as tfl
from onnx import numpy_helper

#: Operators and their options.
OPTIONS = {
    "QUANTIZE": tfl.QuantizeOptionsT, "DEQUANTIZE": tfl.DequantizeOptionsT, "CONV_2D": tfl.Conv2DOptionsT, "ADD": tfl.AddOptionsT,
    "PAD": tfl.PadOptionsT, "MAX_POOL_2D": tfl.Pool2DOptionsT, "MEAN": tfl.ReducerOptionsT, "RESHAPE": tfl.ReshapeOptionsT,
    "FULLY_CONNECTED": tfl.FullyConnectedOptionsT, "RESIZE_NEAREST_NEIGHBOR": tfl.ResizeNearestNeighborOptionsT,
    "CONCATENATION": tfl.ConcatenationOptionsT,
}  # fmt: skip

#: Of operators, the first that has bytes; 2 where nothing is said.
VERSIONS = {"CONV_2D": 3, "RESHAPE": 1, "FULLY_CONNECTED": 1}


class Converter:
    def __init__(self, model: onnx.ModelProto):
        graph = onnx.shape_inference.infer_shapes(model).graph
        self.graph = graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        values = [*graph.value_info, *graph.input, *graph.output]
        self.shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
        #: Who quantizes a float, and the new file's tensor for a name of the old one, quantized or not.
        self.quantizers = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
        self.tensors: dict[str, int] = {}
        self.file = tfl.ModelT()
        self.file.version, self.file.operatorCodes, self.file.buffers = 3, [], [tfl.BufferT()]
        self.part = tfl.SubGraphT()
        self.part.tensors, self.part.operators = [], []
        self.file.subgraphs = [self.part]

    def tensor(self, name: str, shape, dtype, data=None, scale=None, zero=None) -> int:
        tensor = tfl.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), [int(side) for side in shape], 0
        tensor.type = {np.float32: tfl.TensorType.FLOAT32, np.int8: tfl.TensorType.INT8, np.int32: tfl.TensorType.INT32}[dtype]
        if data is not None:
            buffer = tfl.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            tensor.buffer = len(self.file.buffers)
            self.file.buffers.append(buffer)
        if scale is not None:
            tensor.quantization = tfl.QuantizationParametersT()
            tensor.quantization.scale = np.atleast_1d(scale).astype(np.float32)
            tensor.quantization.zeroPoint = np.broadcast_to(np.int64(zero), tensor.quantization.scale.shape)
            tensor.quantization.quantizedDimension = 0
        self.part.tensors.append(tensor)
        return len(self.part.tensors) - 1

    def constant(self, values, dtype=np.int32) -> int:
        values = np.asarray(values, dtype)
        return self.tensor(f"constant.{len(self.part.tensors)}", values.shape, dtype, values)

    def add(self, name: str, inputs: list[int], outputs: list[int], **options) -> None:
        code = getattr(tfl.BuiltinOperator, name)
        codes = [one.builtinCode for one in self.file.operatorCodes]
        if code not in codes:
            entry = tfl.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), VERSIONS.get(name, 2)
            self.file.operatorCodes.append(entry)
            codes.append(code)
        operator, kind = tfl.OperatorT(), OPTIONS[name]
        operator.opcodeIndex, operator.inputs, operator.outputs = codes.index(code), inputs, outputs
        operator.builtinOptionsType = getattr(tfl.BuiltinOptions, kind.__name__.removesuffix("T"))
        operator.builtinOptions = kind()
        for key, value in options.items():
            setattr(operator.builtinOptions, key, value)
        self.part.operators.append(operator)

    def quantization(self, at: int) -> tuple[float, int]:
        of = self.part.tensors[at].quantization
        return float(of.scale[0]), int(of.zeroPoint[0])

    def like(self, at: int, name: str, shape) -> int:
        """A quantized tensor with another's scale."""
        scale, zero = self.quantization(at)
        return self.tensor(name, shape, np.int8, scale=scale, zero=zero)

    def shape(self, name: str) -> list[int]:
        """Channels last."""
        shape = self.shapes[name]
        return [shape[0], *shape[2:], shape[1]] if len(shape) == 4 else shape

    def result(self, name: str) -> int:
        """The tensor of a node's result: quantized, if it is quantized in the ONNX file."""
        if name in self.tensors:
            return self.tensors[name]
        quantizer = self.quantizers.get(name)
        if quantizer is None:
            made = self.tensor(name, self.shape(name), np.float32)
        else:
            scale, zero = (self.constants[key] for key in quantizer.input[1:])
            made = self.tensor(quantizer.output[0], self.shape(name), np.int8, scale=scale, zero=int(zero) - 128)
            self.tensors[quantizer.output[0]] = made
        self.tensors[name] = made
        return made

    def requantized(self, at: int, wanted: int) -> int:
        """The tensor itself, or what an operator brings to the wanted scale."""
        if self.quantization(at) == self.quantization(wanted):
            return at
        made = self.like(wanted, f"{self.part.tensors[at].name.decode()}.{wanted}", self.part.tensors[at].shape)
        self.add("QUANTIZE", [at], [made])
        return made

    def dequantized(self, at: int) -> int:
        tensor = self.part.tensors[at]
        made = self.tensor(f"{tensor.name.decode()}.float", tensor.shape, np.float32)
        self.add("DEQUANTIZE", [at], [made])
        return made

    def padded(self, at: int, pads: list[int]) -> int:
        top, left, bottom, right = pads
        if not any(pads):
            return at
        batch, height, width, channels = self.part.tensors[at].shape
        made = self.like(at, f"{self.part.tensors[at].name.decode()}.padded", [batch, height + top + bottom, width + left + right, channels])
        self.add("PAD", [at, self.constant([[0, 0], [top, bottom], [left, right], [0, 0]])], [made])
        return made

    def weights(self, node, quantized: bool, axes: tuple[int, ...]) -> list[int]:
        """Weights and bias: as they are, or as the floats they stand for."""
        name, bias = (one.removesuffix(".dq") for one in node.input[1:3])
        w, w_scale = self.constants[f"{name}.q"].transpose(axes), self.constants[f"{name}.scale"]
        b, b_scale = self.constants[f"{bias}.q"], self.constants[f"{bias}.scale"]
        if not quantized:
            w = w * w_scale.reshape(-1, *[1] * (w.ndim - 1))
            return [self.constant(w, np.float32), self.constant(b * b_scale, np.float32)]
        assert not np.any(self.constants[f"{name}.zero"]), f"{name} has zero points, expected symmetric weights"
        return [self.tensor(name, w.shape, np.int8, w, w_scale, 0), self.tensor(bias, b.shape, np.int32, b, b_scale, 0)]

    def node(self, node) -> None:
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        kind, out = node.op_type, node.output[0]
        if kind == "QuantizeLinear":
            if node.input[0] in {value.name for value in self.graph.input}:
                x = self.tensor(node.input[0], self.shape(node.input[0]), np.float32)
                self.part.inputs = [x]
                self.add("QUANTIZE", [x], [self.result(node.input[0])])
            return
        if kind == "DequantizeLinear":
            if out in {value.name for value in self.graph.output}:
                self.tensors[out] = self.tensor(out, self.shape(out), np.float32)
                self.add("DEQUANTIZE", [self.tensors[node.input[0]]], [self.tensors[out]])
            elif node.input[0] in self.tensors:
                self.tensors[out] = self.tensors[node.input[0]]
            return
        inputs = [self.tensors[name] for name in node.input if name in self.tensors]
        y, quantized = self.result(out), out in self.quantizers
        if not quantized:
            inputs[0] = self.dequantized(inputs[0])
        if kind == "Conv":
            assert attributes["group"] == 1 and attributes["dilations"] == [1, 1], f"{out}: groups and dilations are not converted"
            pads, (down, right) = attributes["pads"], attributes["strides"]
            same = (down, right) == (1, 1) and pads == [side // 2 for side in attributes["kernel_shape"]] * 2
            x = inputs[0] if same else self.padded(inputs[0], pads)
            padding = tfl.Padding.SAME if same else tfl.Padding.VALID
            weights = self.weights(node, quantized, (0, 2, 3, 1))
            self.add("CONV_2D", [x, *weights], [y], padding=padding, strideH=down, strideW=right, dilationHFactor=1, dilationWFactor=1)
        elif kind == "Gemm":
            self.add("FULLY_CONNECTED", [inputs[0], *self.weights(node, quantized, (0, 1))], [y], keepNumDims=False)
        elif kind == "Add":
            self.add("ADD", inputs, [y])
        elif kind == "MaxPool":
            # Zeros win over nothing where nothing is below them.
            assert self.quantization(inputs[0])[1] == -128, f"{out}: padding of values below zero is not converted"
            (down, right), (height, width) = attributes["strides"], attributes["kernel_shape"]
            x = self.padded(inputs[0], attributes["pads"])
            self.add("MAX_POOL_2D", [x], [y], padding=tfl.Padding.VALID, strideH=down, strideW=right, filterHeight=height, filterWidth=width)
        elif kind == "GlobalAveragePool":
            self.add("MEAN", [inputs[0], self.constant([1, 2])], [y], keepDims=True)
        elif kind == "Flatten":
            shape = self.shape(out)
            self.add("RESHAPE", [inputs[0], self.constant(shape)], [y], newShape=shape)
        elif kind == "Resize":
            assert attributes["mode"] == b"nearest", f"{out}: {attributes['mode']} is not converted"
            x = self.requantized(inputs[0], y)
            self.add("RESIZE_NEAREST_NEIGHBOR", [x, self.constant(self.shape(out)[1:3])], [y])
        elif kind == "Concat":
            self.add("CONCATENATION", [self.requantized(one, y) for one in inputs], [y], axis=3)
        else:
            raise NotImplementedError(f"{kind} ({out})")

    def convert(self) -> bytes:
        import flatbuffers

        for node in self.graph.node:
            self.node(node)
        self.part.outputs = [self.tensors[value.name] for value in self.graph.output]
        builder = flatbuffers.Builder(1 << 25)
        builder.Finish(self.file.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def write(model: Path, to: Path) -> Path:
    to.write_bytes(Converter(onnx.load(model)).convert())
    return to


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
