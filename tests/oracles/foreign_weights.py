"""Small files with the names, shapes and format of weights that others release, written without PyTorch.

    foreign_weights.py resnet50 OUT.pt [--width 8]             torchvision's names, RGB stem, classifier
    foreign_weights.py prior    OUT.pt [--width 4] [--size 64] names of the released PRIOR, unused layers included
                                [--published]                  as large as the released: 1 GB
                                [--words OUTDIR]               the vocabulary and config.json of its text encoder
                                [--compare MODEL.safetensors]  prints as JSON which names arrived there bit for bit,
                                                               which otherwise, which not

Python's own pickle and zipfile write them as torch.save does since 1.6: an independent writer for our reader.
"""

import argparse
import collections
import json
import os
import pickle
import sys
import types
import zipfile

import numpy

WORDS = """[PAD] [UNK] [CLS] [SEP] [MASK] . , the is are no of in and with lung lungs heart pleural effusion
pneumonia cardiomegaly consolidation opacity normal enlarged small left right lower upper zone clear seen observed
acute process focal size there a""".split()
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]


def torch_modules():
    """`torch` and `torch._utils` as far as a pickle names them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    storage = type("FloatStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2(*_):
        raise NotImplementedError("only named, never called")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    torch.FloatStorage, torch._utils, utils._rebuild_tensor_v2 = storage, utils, _rebuild_tensor_v2
    sys.modules.update({"torch": torch, "torch._utils": utils})
    return torch


class Tensor:
    def __init__(self, values):
        self.values = numpy.array(values, dtype="<f4", order="C")

    def __reduce__(self):
        size = self.values.shape
        stride = tuple(s // 4 for s in self.values.strides)
        function = sys.modules["torch._utils"]._rebuild_tensor_v2
        return function, (Storage(self.values), 0, size, stride, False, collections.OrderedDict())


class Storage:
    def __init__(self, values):
        self.values = values


def torch_save(state_dict, path):
    torch, storages = torch_modules(), []

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            storages.append(value.values)
            key = str(len(storages) - 1)
            return ("storage", torch.FloatStorage, key, "cpu", value.values.size)

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("archive/data.pkl", "w") as file:
            Pickler(file, protocol=2).dump(state_dict)
        archive.writestr("archive/byteorder", "little")
        for key, values in enumerate(storages):
            archive.writestr(f"archive/data/{key}", values.tobytes())
        archive.writestr("archive/version", "3\n")


class Weights:
    """Names and values, drawn so that activations keep their size."""

    def __init__(self, seed):
        self.all, self.random = collections.OrderedDict(), numpy.random.default_rng(seed)

    def normal(self, name, *shape, deviation):
        self.all[name] = Tensor(self.random.normal(0.0, deviation, shape))

    def full(self, name, *shape, value):
        self.all[name] = Tensor(numpy.full(shape, value))

    def conv(self, name, inputs, outputs, side):
        self.normal(f"{name}.weight", outputs, inputs, side, side, deviation=(2.0 / inputs / side**2) ** 0.5)

    def linear(self, name, inputs, outputs):
        self.normal(f"{name}.weight", outputs, inputs, deviation=inputs**-0.5)
        self.full(f"{name}.bias", outputs, value=0.0)

    def norm(self, name, width, batch):
        self.full(f"{name}.weight", width, value=1.0)
        self.full(f"{name}.bias", width, value=0.0)
        if batch:
            self.full(f"{name}.running_mean", width, value=0.0)
            self.full(f"{name}.running_var", width, value=1.0)

    def resnet50(self, prefix, width, channels):
        self.conv(f"{prefix}conv1", channels, width, 7)
        self.norm(f"{prefix}bn1", width, True)
        inputs = width
        for stage, blocks in enumerate([3, 4, 6, 3]):
            inner = width * 2**stage
            for block in range(blocks):
                name = f"{prefix}layer{stage + 1}.{block}"
                for at, (a, b, side) in enumerate([(inputs, inner, 1), (inner, inner, 3), (inner, 4 * inner, 1)]):
                    self.conv(f"{name}.conv{at + 1}", a, b, side)
                    self.norm(f"{name}.bn{at + 1}", b, True)
                if block == 0:
                    self.conv(f"{name}.downsample.0", inputs, 4 * inner, 1)
                    self.norm(f"{name}.downsample.1", 4 * inner, True)
                inputs = 4 * inner

    def bert(self, prefix, words, width, layers, inner, positions, crossed):
        self.normal(f"{prefix}.embeddings.word_embeddings.weight", words, width, deviation=0.02)
        self.normal(f"{prefix}.embeddings.position_embeddings.weight", positions, width, deviation=0.02)
        self.normal(f"{prefix}.embeddings.token_type_embeddings.weight", 2, width, deviation=0.02)
        self.norm(f"{prefix}.embeddings.LayerNorm", width, False)
        for layer in range(layers):
            name = f"{prefix}.encoder.layer.{layer}"
            for attention in ["attention", "crossattention"] if crossed else ["attention"]:
                for part in ["self.query", "self.key", "self.value", "output.dense"]:
                    self.linear(f"{name}.{attention}.{part}", width, width)
                self.norm(f"{name}.{attention}.output.LayerNorm", width, False)
            self.linear(f"{name}.intermediate.dense", width, inner)
            self.linear(f"{name}.output.dense", inner, width)
            self.norm(f"{name}.output.LayerNorm", width, False)

    def prior(self, shape):
        """Every parameter of codes/prior/models/prior.py."""
        joint, channels, cells = shape["joint"], 32 * shape["width"], (shape["size"] // 32) ** 2
        words, inner, positions = shape["words"], shape["inner"], shape["positions"]
        width = shape["width"]
        self.resnet50("image_encoder.encoder.", width, 1)
        pool = "image_encoder.atten_pool"
        self.normal(f"{pool}.positional_embedding", cells + 1, channels, deviation=channels**-0.5)
        for part in ["k_proj", "q_proj", "v_proj", "c_proj"]:
            self.linear(f"{pool}.{part}", channels, channels)
            self.linear(f"global_text_attention.{part}", joint, joint)
        self.bert("text_encoder.encoder", words, joint, shape["layers"], inner, positions, False)
        self.linear("text_encoder.encoder.pooler.dense", joint, joint)
        self.linear("global_image_projection", channels, joint)
        self.linear("local_image_projection", channels, joint)
        self.linear("global_text_projection", joint, joint)
        self.linear("local_text_projection", joint, joint)
        self.linear("predictor.0", joint, joint // 2)
        self.linear("predictor.2", joint // 2, joint)
        for part in ["query1", "key1", "value1", "query2", "key2", "value2"]:
            self.linear(f"local_cross_attention.{part}", joint, joint)
        self.normal("sentence_bank.embed.weight", shape["prototypes"], joint, deviation=1.0)
        self.bert("sentence_decoder", words, joint, shape["decoder_layers"], inner, positions, True)
        self.normal("prototype_queries", 1, shape["queries"], joint, deviation=1.0)
        for block in range(5):
            inputs, outputs = 2 * joint >> block, joint >> block
            for conv, a in [("conv1", inputs), ("conv2", outputs)]:
                self.conv(f"image_decoder.blocks.{block}.{conv}.0", a, outputs, 3)
                self.norm(f"image_decoder.blocks.{block}.{conv}.1", outputs, True)
        self.conv("image_decoder.output_head.0", 2 * joint >> 5, 1, 3)
        self.full("image_decoder.output_head.0.bias", 1, value=0.0)
        self.full("logit_scale", value=numpy.log(100.0))
        self.full("local_logit_scale", value=numpy.log(100.0))


def compare(state_dict, path):
    """Which tensors are in a safetensors file under their own names."""
    with open(path, "rb") as file:
        data = file.read()
    begin = 8 + int.from_bytes(data[:8], "little")
    there = json.loads(data[8:begin])
    result = {"same": 0, "changed": [], "absent": []}
    for name, tensor in state_dict.items():
        if name not in there:
            result["absent"].append(name)
            continue
        a, b = there[name]["data_offsets"]
        same = there[name]["shape"] == list(tensor.values.shape)
        if same and data[begin + a : begin + b] == tensor.values.tobytes():
            result["same"] += 1
        else:
            result["changed"].append(name)
    print(json.dumps(result))


SMALL = {"joint": 64, "layers": 2, "heads": 4, "inner": 96, "positions": 64, "prototypes": 32, "queries": 8,
         "decoder_layers": 2}
PUBLISHED = {"joint": 768, "layers": 12, "heads": 12, "inner": 3072, "positions": 512, "prototypes": 512,
             "queries": 16, "decoder_layers": 8, "width": 64, "size": 224, "words": 28996}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["resnet50", "prior"])
    parser.add_argument("out")
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--words")
    parser.add_argument("--compare")
    args = parser.parse_args()
    weights, words = Weights(7), WORDS + LETTERS + [f"##{letter}" for letter in LETTERS]
    if args.kind == "resnet50":
        weights.resnet50("", args.width, 3)
        weights.linear("fc", 32 * args.width, 1000)
        torch_save(weights.all, args.out)
        return
    shape = {**SMALL, "width": args.width, "size": args.size, "words": len(words)}
    shape = PUBLISHED if args.published else shape
    weights.prior(shape)
    torch_save({"state_dict": weights.all, "epoch": 149}, args.out)
    if args.compare:
        compare(weights.all, args.compare)
    if args.words:
        os.makedirs(args.words)
        with open(os.path.join(args.words, "vocab.txt"), "w") as file:
            file.write("\n".join(words) + "\n")
        bert = {"model_type": "bert", "vocab_size": shape["words"], "hidden_size": shape["joint"],
                "num_hidden_layers": shape["layers"], "num_attention_heads": shape["heads"],
                "intermediate_size": shape["inner"], "max_position_embeddings": shape["positions"]}
        with open(os.path.join(args.words, "config.json"), "w") as file:
            json.dump(bert, file)


if __name__ == "__main__":
    main()
