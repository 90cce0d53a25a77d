#!/usr/bin/env python3
"""Networks of other people's packages, exported by PyTorch, read by `exporter` and compared with ONNX Runtime.

    python3 -m venv zoo && zoo/bin/pip install -r exporter/benches/zoo-requirements.txt
    cargo build -p exporter
    zoo/bin/python exporter/benches/zoo.py export                 38 networks, both exporters of PyTorch: 8 GB in target/zoo
    zoo/bin/python exporter/benches/zoo.py check                  our float form beside the file itself, in ONNX Runtime
    zoo/bin/python exporter/benches/zoo.py check --networks tv-resnet18 --forms dynamo --json

Nothing but packages of PyPI is downloaded. Weights are random from a fixed seed, those of a head that starts as zeros
too; batch statistics are those of noise, so that activations keep the size they have in a trained network. `check`
runs `exporter onnx --model` and compares the outputs of the file it writes with those of the file it read, on noise:
the largest difference over the largest magnitude must stay below 1e-4. `exporter/docs/foreign-networks.md` has the table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIDE = 224
FORMS = ["torchscript", "dynamo"]
#: The largest difference allowed, over the largest magnitude of an output.
LIMIT = 1e-4


def networks():
    """Name → (constructor, channels of the input)."""
    import segmentation_models_pytorch as smp
    import timm
    import torch
    import torchvision.models as tv
    import torchxrayvision as xrv

    class Out(torch.nn.Module):
        """The map that torchvision's segmentation networks keep in a dictionary."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)["out"]

    class Logits(torch.nn.Module):
        """A TorchXRayVision network without its check of the input's range, which cannot be exported."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            features = torch.nn.functional.relu(self.inner.features(x))
            pooled = torch.nn.functional.adaptive_avg_pool2d(features, 1).flatten(1)
            return self.inner.classifier(pooled)

    def segmentation(kind, encoder="resnet34"):
        return lambda: getattr(smp, kind)(encoder_name=encoder, encoder_weights=None, in_channels=1, classes=2)

    def image(name, **options):
        return lambda: timm.create_model(name, pretrained=False, **options)

    grey = {"in_chans": 1, "num_classes": 14}
    plain = {"weights": None, "weights_backbone": None}
    headless = {"aux_logits": False, "init_weights": False}
    return {
        "tv-resnet18": (tv.resnet18, 3),
        "tv-resnext50": (tv.resnext50_32x4d, 3),
        "tv-wide_resnet50": (tv.wide_resnet50_2, 3),
        "tv-densenet121": (tv.densenet121, 3),
        "xrv-densenet121": (lambda: Logits(xrv.models.DenseNet(num_classes=18, in_channels=1)), 1),
        "tv-efficientnet_b0": (tv.efficientnet_b0, 3),
        "tv-efficientnet_v2_s": (tv.efficientnet_v2_s, 3),
        "tv-mobilenet_v2": (tv.mobilenet_v2, 3),
        "tv-mobilenet_v3_large": (tv.mobilenet_v3_large, 3),
        "tv-regnet_y_400mf": (tv.regnet_y_400mf, 3),
        "tv-convnext_tiny": (tv.convnext_tiny, 3),
        "tv-vgg16_bn": (tv.vgg16_bn, 3),
        "tv-squeezenet1_1": (tv.squeezenet1_1, 3),
        "tv-shufflenet_v2": (tv.shufflenet_v2_x1_0, 3),
        "tv-googlenet": (lambda: tv.googlenet(**headless), 3),
        "tv-inception_v3": (lambda: tv.inception_v3(**headless), 3),
        "tv-mnasnet": (tv.mnasnet1_0, 3),
        "tv-vit_b_16": (tv.vit_b_16, 3),
        "tv-swin_t": (tv.swin_t, 3),
        "timm-deit_small": (image("deit_small_patch16_224"), 3),
        "timm-seresnext50": (image("seresnext50_32x4d"), 3),
        "timm-resnet50d-1ch": (image("resnet50d", **grey), 1),
        "timm-resnet50-1ch-14": (image("resnet50", **grey), 1),
        "timm-efficientnet_lite0": (image("efficientnet_lite0"), 3),
        "timm-repvgg_a0": (image("repvgg_a0"), 3),
        "timm-cspdarknet53": (image("cspdarknet53"), 3),
        "timm-hrnet_w18_small": (image("hrnet_w18_small"), 3),
        "timm-fastvit_t8": (image("fastvit_t8"), 3),
        "smp-unet-resnet34": (segmentation("Unet"), 1),
        "smp-unetpp-resnet34": (segmentation("UnetPlusPlus"), 1),
        "smp-fpn-resnet34": (segmentation("FPN"), 1),
        "smp-linknet-resnet34": (segmentation("Linknet"), 1),
        "smp-deeplabv3p-resnet34": (segmentation("DeepLabV3Plus"), 1),
        "smp-manet": (segmentation("MAnet"), 1),
        "smp-unet-effb0": (segmentation("Unet", "efficientnet-b0"), 1),
        "tv-fcn_resnet50": (lambda: Out(tv.segmentation.fcn_resnet50(**plain)), 3),
        "tv-deeplabv3_mnv3": (lambda: Out(tv.segmentation.deeplabv3_mobilenet_v3_large(**plain)), 3),
        "tv-lraspp_mnv3": (lambda: Out(tv.segmentation.lraspp_mobilenet_v3_large(**plain)), 3),
    }


def drawn(make, channels: int, side: int = SIDE):
    """A network with random weights, and batch statistics of noise."""
    import torch

    torch.manual_seed(0)
    network = make().train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches seen
        if isinstance(module, torch.nn.Dropout) or type(module).__name__ in ("DropPath", "StochasticDepth"):
            module.eval()
        if isinstance(module, torch.nn.Linear) and not module.weight.any():
            torch.nn.init.trunc_normal_(module.weight, std=0.02)  # zeros answer zero, whatever noise there is
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(2, channels, side, side) * 0.5)
    return network.eval()


def export(folder: Path, names, forms) -> None:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    for name, (make, channels) in networks().items():
        missing = [form for form in forms if not (folder / f"{name}.{form}.onnx").exists()]
        if name not in names or not missing:
            continue
        network = drawn(make, channels)
        image = torch.randn(1, channels, SIDE, SIDE) * 0.5
        for form in missing:
            began = time.time()
            file = folder / f"{name}.{form}.onnx"
            options = {"dynamo": False, "opset_version": 17} if form == "torchscript" else {"dynamo": True}
            try:
                torch.onnx.export(network, (image,), str(file), **options)
                print(f"{file.name}: {time.time() - began:.0f} s", flush=True)
            except Exception as error:  # one network that cannot be exported must not hide the others
                print(f"{file.name}: PyTorch refuses: {error}".splitlines()[0], flush=True)
                file.unlink(missing_ok=True)


def session(file: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def compared(theirs: Path, ours: Path) -> float:
    """The largest difference of an output over its largest magnitude, on one image of noise."""
    import numpy

    before, after = session(theirs), session(ours)
    shape = [side if isinstance(side, int) else 1 for side in before.get_inputs()[0].shape]
    image = (numpy.random.default_rng(1).standard_normal(shape) * 0.5).astype(numpy.float32)
    expected = before.run(None, {before.get_inputs()[0].name: image})
    found = after.run(None, {after.get_inputs()[0].name: image})
    if len(expected) != len(found):
        raise ValueError(f"{len(found)} outputs, expected {len(expected)}")
    worst = 0.0
    for a, b in zip(expected, found):
        if a.shape != b.shape:
            raise ValueError(f"an output of {b.shape}, expected {a.shape}")
        scale = max(float(numpy.abs(a).max()), 1e-9)
        worst = max(worst, float(numpy.abs(a - b).max()) / scale)
    return worst


def check_one(exporter: Path, file: Path) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        ours = Path(folder) / "ours.onnx"
        began = time.time()
        command = [exporter, "onnx", "--model", file, "--out", ours, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.time() - began
        if done.returncode != 0:
            return {"refused": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else str(done.returncode)}
        try:
            difference = compared(file, ours)
        except Exception as error:
            return {"failed": str(error).splitlines()[0]}
        nodes = json.loads(done.stdout)["nodes"]
        return {"difference": difference, "nodes": nodes, "seconds": round(seconds, 1)}


def check(arguments) -> int:
    rows, wrong = [], 0
    for file in sorted(arguments.folder.glob("*.onnx")):
        name, form = file.name.removesuffix(".onnx").rsplit(".", 1)
        if form not in arguments.forms or (arguments.networks and name not in arguments.networks):
            continue
        row = {"network": name, "form": form, **check_one(arguments.exporter, file)}
        good = row.get("difference", 1.0) <= LIMIT
        wrong += not good
        rows.append(row)
        if not arguments.json:
            told = row.get("refused") or row.get("failed") or f"{row['difference']:.1e}  {row['nodes']} nodes"
            print(f"{name:26} {form:12} {'ok ' if good else 'BAD'} {told}", flush=True)
    if arguments.json:
        print(json.dumps({"limit": LIMIT, "rows": rows}, indent=1))
    else:
        print(f"{len(rows) - wrong} of {len(rows)} within {LIMIT:.0e}")
    return 1 if wrong or not rows else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("verb", choices=["export", "check"])
    parser.add_argument("--folder", type=Path, default=ROOT / "target/zoo", help="where the files lie (default target/zoo)")
    parser.add_argument("--networks", nargs="+", help="some of them (default: all)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--exporter", type=Path, default=ROOT / "target/debug/exporter")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.verb == "export":
        export(arguments.folder, arguments.networks or list(networks()), arguments.forms)
        return 0
    return check(arguments)


if __name__ == "__main__":
    sys.exit(main())
