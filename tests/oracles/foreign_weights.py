"""Small files with the names, shapes and format of weights that others release, written without PyTorch.

    foreign_weights.py resnet50 OUT.pt [--width 8]             torchvision's names, RGB stem, classifier
    foreign_weights.py prior    OUT.pt [--width 4] [--size 64] names of the released PRIOR, unused layers included
                                [--words OUTDIR]               the vocabulary and config.json of its text encoder

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
        self.values = numpy.ascontiguousarray(values, dtype="<f4")

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

    def prior(self, width, size, words):
        """Every parameter of codes/prior/models/prior.py, at a joint width of 64."""
        joint, channels, cells = 64, 32 * width, (size // 32) ** 2
        self.resnet50("image_encoder.encoder.", width, 1)
        pool = "image_encoder.atten_pool"
        self.normal(f"{pool}.positional_embedding", cells + 1, channels, deviation=channels**-0.5)
        for part in ["k_proj", "q_proj", "v_proj", "c_proj"]:
            self.linear(f"{pool}.{part}", channels, channels)
            self.linear(f"global_text_attention.{part}", joint, joint)
        self.bert("text_encoder.encoder", words, joint, 2, 96, 64, False)
        self.linear("text_encoder.encoder.pooler.dense", joint, joint)
        self.linear("global_image_projection", channels, joint)
        self.linear("local_image_projection", channels, joint)
        self.linear("global_text_projection", joint, joint)
        self.linear("local_text_projection", joint, joint)
        self.linear("predictor.0", joint, joint // 2)
        self.linear("predictor.2", joint // 2, joint)
        for part in ["query1", "key1", "value1", "query2", "key2", "value2"]:
            self.linear(f"local_cross_attention.{part}", joint, joint)
        self.normal("sentence_bank.embed.weight", 32, joint, deviation=1.0)
        self.bert("sentence_decoder", words, joint, 2, 96, 64, True)
        self.normal("prototype_queries", 1, 8, joint, deviation=1.0)
        for block in range(5):
            inputs, outputs = 2 * joint >> block, joint >> block
            for conv, a in [("conv1", inputs), ("conv2", outputs)]:
                self.conv(f"image_decoder.blocks.{block}.{conv}.0", a, outputs, 3)
                self.norm(f"image_decoder.blocks.{block}.{conv}.1", outputs, True)
        self.conv("image_decoder.output_head.0", 2 * joint >> 5, 1, 3)
        self.full("image_decoder.output_head.0.bias", 1, value=0.0)
        self.full("logit_scale", value=numpy.log(100.0))
        self.full("local_logit_scale", value=numpy.log(100.0))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["resnet50", "prior"])
    parser.add_argument("out")
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--words")
    args = parser.parse_args()
    weights, words = Weights(7), WORDS + LETTERS + [f"##{letter}" for letter in LETTERS]
    if args.kind == "resnet50":
        weights.resnet50("", args.width, 3)
        weights.linear("fc", 32 * args.width, 1000)
        torch_save(weights.all, args.out)
        return
    weights.prior(args.width, args.size, len(words))
    torch_save({"state_dict": weights.all, "epoch": 149}, args.out)
    if args.words:
        os.makedirs(args.words)
        with open(os.path.join(args.words, "vocab.txt"), "w") as file:
            file.write("\n".join(words) + "\n")
        shape = {"model_type": "bert", "vocab_size": len(words), "hidden_size": 64, "num_hidden_layers": 2,
                 "num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": 64}
        with open(os.path.join(args.words, "config.json"), "w") as file:
            json.dump(shape, file)


if __name__ == "__main__":
    main()
