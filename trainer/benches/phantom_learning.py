#!/usr/bin/env python3
"""Does PRIOR learn? Asked on PHANTOMS: drawn radiographs with reports, where the truth is known.

    OMP_NUM_THREADS=1 python3 trainer/benches/phantom_learning.py --out DIR [--trainer target/release/trainer] [--pairs 3000]

Draws phantoms, pre-trains three encoders of one network on the training split's images and reports (`configs/phantom.toml`: all losses;
the same without the local and the reconstruction losses; no step at all), and measures them on the test split:

* retrieval: precision at 1, 5, 10 beside chance and beside an oracle that reads the labels of image and report without fault,
* zero-shot: AUROC of each finding by the prompt "... is observed" among images with exactly one of the findings,
* macro AUROC of eight findings by a linear probe on 10 % and 100 % of the training patients (1 % show some findings on no image),
* and by fine-tuning everything on 1 %, 10 % and 100 % of them.

What is in DIR already is not made again. Half an hour of one core; `--without-fine-tuning` six minutes.
"""
import argparse
import collections
import json
import pathlib
import subprocess
import time

CONFIG = pathlib.Path(__file__).resolve().parent.parent / "configs" / "phantom.toml"
FINDINGS = ["Pneumonia", "Cardiomegaly", "Effusion", "Pneumothorax", "Nodule", "Mass", "Edema", "Atelectasis"]
STAGES = 3
LOCAL = [f"stage.{n}.weights.{w}=0.0" for n in range(STAGES) for w in ("local-image", "local-text")]
RECONSTRUCTION = [f"stage.{STAGES - 1}.weights.{w}=0.0" for w in ("image", "sentence", "divergence", "report")]
ENCODERS = {"random": [f"stage.{n}.epochs=0" for n in range(STAGES)], "global": LOCAL + RECONSTRUCTION, "prior": []}
# Share of the training patients, epochs, seeds.
FINE_TUNING = [(0.01, 30, (0, 1, 2)), (0.1, 30, (0,)), (1.0, 8, (0,))]
PROBED = (0.1, 1.0)
TOP = (1, 5, 10)


class Bench:
    def __init__(self, out: pathlib.Path, trainer: str):
        self.out, self.trainer, self.index = out, trainer, out / "index.jsonl"

    def call(self, *arguments) -> list:
        begin = time.monotonic()
        told = subprocess.run([self.trainer, "--json", *map(str, arguments)], check=True, stdout=subprocess.PIPE).stdout
        print(f"  {' '.join(map(str, arguments[:3]))} …: {time.monotonic() - begin:.0f} s", flush=True)
        return [json.loads(line) for line in told.splitlines() if line.startswith(b"{")]

    def draw(self, pairs: int) -> None:
        if not (self.out / "data" / "manifest.jsonl").exists():
            self.call("phantom", "--out", self.out / "data", "--count", pairs, "--seed", 18, "--size", 128, "--dicom", 0)
        if not self.index.exists():
            self.call("index", "cxr-mini", "--root", self.out / "data", "--out", self.index)

    def pretrain(self, name: str) -> pathlib.Path:
        folder = self.out / name
        if not finished(folder):
            changes = [part for change in ENCODERS[name] for part in ("--set", change)]
            self.call("pretrain", "--config", CONFIG, "--data", self.index, "--out", folder, "--cache", self.out / "cache", *changes)
        return folder

    def evaluate(self, name: str, task: str, checkpoint: pathlib.Path, *more) -> dict:
        """The answer is kept beside the checkpoint."""
        kept = self.out / "answers" / f"{name}-{task}.json"
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            told = self.call("evaluate", "--task", task, "--checkpoint", checkpoint, "--data", self.index, *more)
            kept.write_text(json.dumps(told[0]))
        return json.loads(kept.read_text())

    def tune(self, name: str, kind: str, encoder: pathlib.Path, seed: int, *settings) -> dict:
        folder = self.out / "tuned" / f"{name}-{kind}-{seed}"
        if not finished(folder):
            self.call("finetune", "--task", "classification", "--encoder", encoder, "--data", self.index, "--out", folder,
                      "--labels", ",".join(FINDINGS), "--seed", seed, *settings)
        return self.evaluate(f"{name}-{kind}-{seed}", "classification", folder)


def finished(folder: pathlib.Path) -> bool:
    state = folder / "state.json"
    return state.exists() and json.loads(state.read_text()).get("finished", False)


def oracle(index: pathlib.Path) -> list:
    """Precision of whoever reads the labels of every image and report without fault, and puts equal ones first."""
    records = [record for record in map(json.loads, index.open()) if record["split"] == "test"]
    classes = ["|".join(sorted(k for k, v in record["labels"].items() if v == 1)) for record in records]
    alike = collections.Counter(classes)
    return [sum(min(alike[c], k) / k for c in classes) / len(classes) for k in TOP]


def row(*cells) -> None: print("| " + " | ".join(map(str, cells)) + " |")


def spread(estimate: dict) -> str: return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--trainer", default="target/release/trainer")
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--without-fine-tuning", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.out.resolve(), args.trainer)
    bench.draw(args.pairs)
    encoders = {name: bench.pretrain(name) for name in ENCODERS}

    print("\nPHANTOM DATA. Retrieval on the test split: precision (same labels) [95 % by patient]\n")
    row("reports ranked by", *(f"at {k}" for k in TOP))
    row(*["---"] * (len(TOP) + 1))
    for name, folder in encoders.items():
        found = bench.evaluate(name, "retrieval", folder)["precision"]
        row(name, *(spread(found[at]) for at in range(len(TOP))))
    row("chance", *(f"{found[at]['chance']:.3f}" for at in range(len(TOP))))
    row("oracle", *(f"{value:.3f}" for value in oracle(bench.index)))

    print("\nPHANTOM DATA. Zero-shot, AUROC of each finding among test images with exactly one of them\n")
    asked = ("--classes", ",".join(FINDINGS))
    shots = {name: bench.evaluate(name, "zero-shot", folder, *asked) for name, folder in encoders.items()}
    row("finding", *shots)
    row(*["---"] * (len(shots) + 1))
    for finding in FINDINGS: row(finding, *(f"{shot['auroc'][finding]:.3f}" for shot in shots.values()))
    row("accuracy", *(f"{shot['accuracy']:.3f}" for shot in shots.values()))
    print(f"\n{next(iter(shots.values()))['images']} images")

    print("\nPHANTOM DATA. Linear probe: macro AUROC of eight findings on the test split [95 % by patient]\n")
    row("encoder", *(f"{share:.0%} of the patients" for share in PROBED))
    row(*["---"] * (len(PROBED) + 1))
    for name, folder in encoders.items():
        asked = ("--labels", ",".join(FINDINGS), "--fraction")
        row(name, *(spread(bench.evaluate(f"{name}-{share:g}", "linear", folder, *asked, share)["macro_auroc"]) for share in PROBED))

    if args.without_fine_tuning: return
    print("\nPHANTOM DATA. Fine-tuned: macro AUROC of eight findings on the test split [95 % by patient]\n")
    shares = [f"{share:.0%} of the patients" for share, *_ in FINE_TUNING]
    row("encoder", *shares)
    row(*["---"] * (len(FINE_TUNING) + 1))
    for name, folder in encoders.items():
        cells = []
        for share, epochs, seeds in FINE_TUNING:
            settings = ("--mode", "full", "--protocol", "prior", "--rate", 5e-4, "--epochs", epochs, "--fraction", share)
            tuned = [bench.tune(name, f"{share:g}", folder, seed, *settings)["macro_auroc"] for seed in seeds]
            cells.append(spread(tuned[0]) if len(seeds) == 1 else ", ".join(f"{one['value']:.3f}" for one in tuned))
        row(name, *cells)


if __name__ == "__main__":
    main()
