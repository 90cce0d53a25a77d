#!/usr/bin/env python3
"""What float32 costs the gradient norms of PyTorch's own implementation, and why.

    python3 trainer/tests/parity/kinks.py [--reference FOLDER]

A ReLU's gradient jumps where its input changes sign. For both draws of the weights (see `regenerate.py`), both settings and all
stages this prints: how many ReLU inputs have another sign in float32 than in float64; how far the nearest to zero is from it, in
units of its own rounding error; the module whose gradient norm is furthest from float64's; and the same when float64 is given
float32's signs.
"""
import argparse, pathlib, sys

import torch
from torch.overrides import TorchFunctionMode

import regenerate


class Signs(TorchFunctionMode):
    """Keeps the input of every ReLU, or passes what was positive elsewhere."""

    def __init__(self, passing=None):
        super().__init__()
        self.inputs, self.passing = [], passing

    def __torch_function__(self, function, types, arguments=(), options=None):
        if getattr(function, "__name__", "") in ("relu", "relu_"):
            x = arguments[0]
            self.inputs.append(x.detach().double().clone())
            if self.passing is not None:
                return x * (self.passing[len(self.inputs) - 1] > 0).to(x.dtype)
        return function(*arguments, **(options or {}))


def step(reference, config, calm, stage, kind, passing=None):
    model = reference.Prior(config).to(kind).train()
    cast = lambda tensors: {k: t.to(kind) if t.is_floating_point() else t for k, t in tensors.items()}
    batch, noise = regenerate.inputs(config)
    signs = Signs(passing)
    with signs:
        _, gradients = regenerate.gradients_of(model, cast(regenerate.weights(model, calm)), cast(batch), cast(noise), stage)
    return regenerate.module_norms(gradients), signs.inputs


def furthest(found, expected):
    whole = sum(norm**2 for norm in expected.values()) ** 0.5
    apart = {module: abs(found[module] - norm) / (norm + 1e-3 * whole) for module, norm in expected.items()}
    module = max(apart, key=apart.get)
    return f"{module} {apart[module]:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=pathlib.Path, default=regenerate.HERE.parents[2].parent / "shared/prior/reference")
    sys.path.insert(0, str(parser.parse_args().reference))
    sys.dont_write_bytecode = True
    import reference_prior as reference
    torch.set_num_threads(1)
    print("draw   setting   stage  other sign  of inputs  nearest  furthest module, float32    the same with float32's signs")
    for calm in (False, True):
        for setting, quirks in (("faithful", True), ("fixed", False)):
            config = reference.Cfg(**{**reference.TINY, "q_view_scramble": quirks, "q_inverse_perm": quirks, "q_causal": quirks})
            for stage in (1, 2, 3):
                double, inputs = step(reference, config, calm, stage, torch.float64)
                single, rounded = step(reference, config, calm, stage, torch.float32)
                same_signs, _ = step(reference, config, calm, stage, torch.float64, passing=rounded)
                flips = sum(int(((a > 0) != (b > 0)).sum()) for a, b in zip(inputs, rounded))
                nearest = min(float((a.abs() / (a - b).abs().clamp_min(1e-12)).min()) for a, b in zip(inputs, rounded))
                print(f"{'calm' if calm else 'usual':6} {setting:9} {stage:5} {flips:11} {sum(a.numel() for a in inputs):10} {nearest:8.2f}"
                      f"  {furthest(single, double):27} {furthest(single, same_signs)}")


if __name__ == "__main__":
    main()
