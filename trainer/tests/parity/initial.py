#!/usr/bin/env python3
"""Makes `initial.json`: from what each parameter of an untrained network is drawn by the Python libraries.

    python3 trainer/tests/parity/initial.py [--reference FOLDER]

Needs torch 2.11, torchvision 0.26, transformers, segmentation-models-pytorch 0.6, scipy; a minute on one core. FOLDER holds
`reference_prior.py`, see `regenerate.py`. Every network is made again and again from other seeds and its parameters are
measured: a constant, U(-x, x) or N(0, x). Rows that are always zero ([PAD]) are named and left out of the measure.

`prior` is PRIOR at reduced width; `resnet18`, `mobilenetv2`, `densenet121` and `efficientnet_b0` are torchvision's; `heads` are what stands on a ResNet-18 of width
16 (`exporter/graph/src/heads.rs`), made of the layers and by the initialisers of the libraries they come from.
"""
import argparse, json, math, pathlib, sys

import torch
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
ENOUGH = 200_000  # numbers of a parameter that are measured
LABELS = 3


def measured(build, seeds):
    kept, full = {}, {}
    for seed in range(seeds):
        torch.manual_seed(seed)
        for name, tensor in build().items():
            if tensor.is_floating_point() and full.get(name, 0) < ENOUGH:
                kept.setdefault(name, []).append(tensor.detach().double().clone())
                full[name] = full.get(name, 0) + tensor.numel()
    return {name: distribution(torch.stack(draws)) for name, draws in kept.items()}


def distribution(draws):
    """From `[seeds, …]`."""
    if draws.min() == draws.max(): return {"constant": float(draws.flatten()[0])}
    found = {}
    if draws.dim() == 3:
        empty = (draws == 0).all(dim=2).all(dim=0)
        if empty.any(): found["zero rows"] = empty.nonzero().flatten().tolist()
        draws = draws[:, ~empty]
    x = draws.flatten()
    assert len(x) >= 256, "too few to tell a uniform distribution from a normal one"
    square = x.square().mean()
    kurtosis = float(x.pow(4).mean() / square**2)  # 1.8 where uniform, 3 where normal
    uniform = kurtosis < 2.4
    assert abs(kurtosis - (1.8 if uniform else 3.0)) < 10 * math.sqrt(24 / len(x)), kurtosis
    scale = float(x.abs().max()) if uniform else float(square.sqrt())
    assert abs(float(x.mean())) < 6 * float(square.sqrt()) / math.sqrt(len(x)), "off zero"
    found["uniform" if uniform else "normal"] = float(f"{scale:.4g}")
    return found


def heads():
    """Every head on a ResNet-18 of width 16, by the names of `graph::heads`."""
    from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
    from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
    width, channels = 16, [16, 16, 32, 64, 128]
    state = {}

    def take(module, name):
        state.update({f"{name}.{part}": tensor for part, tensor in module.state_dict().items()})

    def convolution(a, b, kernel, bias=False): return nn.Conv2d(a, b, kernel, padding=kernel // 2, bias=bias)

    take(nn.Linear(channels[4], LABELS), "fc")

    below = channels[4]
    for level, out in ((3, 2 * width), (2, width), (1, width // 2), (0, width // 4)):
        layers = dict(reduce=convolution(below, out, 1), bn1=nn.BatchNorm2d(out), bn2=nn.BatchNorm2d(out),
                      conv=convolution(out + channels[level], out, 3))
        initialize_decoder(nn.ModuleList(layers.values()))
        for name, layer in layers.items(): take(layer, f"seg.{level + 1}.{name}")
        below = out
    last = convolution(below, LABELS, 1, bias=True)
    initialize_head(nn.Sequential(last))
    take(last, "seg.out")

    wide = 2 * width
    for level in (3, 4, 5):
        # torchvision draws every convolution alike, whatever its channels and kernel.
        called, placed = FCOSClassificationHead(wide, 1, LABELS, num_convs=1), FCOSRegressionHead(wide, 1, num_convs=1)
        state[f"det.p{level}.reduce.weight"] = called.conv[0].weight
        state[f"det.p{level}.conv.weight"] = placed.conv[0].weight
        state[f"det.p{level}.out.weight"] = torch.cat([called.cls_logits.weight, placed.bbox_reg.weight, placed.bbox_ctrness.weight])
        # The classes' biases are a prior, which fine-tuning sets itself.
        state[f"det.p{level}.out.bias"] = torch.cat([placed.bbox_reg.bias, placed.bbox_ctrness.bias])
        for at in (1, 2): take(nn.BatchNorm2d(wide), f"det.p{level}.bn{at}")

    above = None
    for level in (5, 4, 3):
        out = channels[0] << (level - 2)
        joined = channels[level - 1]
        if above is not None:
            take(convolution(above, out, 1), f"yolo.p{level}.reduce.conv")
            take(nn.BatchNorm2d(out), f"yolo.p{level}.reduce.bn")
            joined += out
        for at, (a, b, kernel) in enumerate([(joined, out, 1), (out, 2 * out, 3), (2 * out, out, 1), (out, 2 * out, 3), (2 * out, out, 1),
                                             (out, 2 * out, 3)]):
            take(convolution(a, b, kernel), f"yolo.p{level}.{at}.conv")
            take(nn.BatchNorm2d(b), f"yolo.p{level}.{at}.bn")
        take(convolution(2 * out, 3 * (LABELS + 5), 1, bias=True), f"yolo.p{level}.out")
        above = out
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=pathlib.Path, default=HERE.parents[2].parent / "shared/prior/reference")
    sys.path.insert(0, str(parser.parse_args().reference))
    sys.dont_write_bytecode = True
    import torchvision
    import reference_prior as reference
    torch.set_num_threads(1)
    config = reference.Cfg(**reference.TINY)
    tables = dict(prior=measured(lambda: reference.Prior(config).state_dict(), 300),
                  resnet18=measured(lambda: without_classifier(torchvision.models.resnet18()), 4),
                  mobilenetv2=measured(lambda: without_classifier(torchvision.models.mobilenet_v2()), 4),
                  densenet121=measured(densenet, 4),
                  efficientnet_b0=measured(lambda: without_classifier(torchvision.models.efficientnet_b0()), 16),
                  heads=measured(heads, 300))
    line = lambda name, found: f"  {json.dumps(name)}: {json.dumps(found)}"
    text = ",\n".join(f"{json.dumps(part)}: {{\n" + ",\n".join(line(*entry) for entry in sorted(table.items())) + "\n }"
                      for part, table in tables.items())
    (HERE / "initial.json").write_text("{\n" + text + "\n}\n")
    for part, table in tables.items(): print(part, len(table), "parameters")


def densenet():
    """torchvision's for grey pictures: it draws by the fan-in, which colours would triple."""
    import torchvision
    model = torchvision.models.densenet121()
    model.features.conv0 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(model.features.conv0.weight)
    return without_classifier(model)


def without_classifier(model):
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(("fc.", "classifier."))}


if __name__ == "__main__":
    main()
