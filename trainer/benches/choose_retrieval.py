#!/usr/bin/env python3
"""Chooses a recipe for retrieval inside the training split alone, so that held-out pairs take no part in the choice.

    OMP_NUM_THREADS=1 .venv/bin/python trainer/benches/choose_retrieval.py fold?.jsonl [--jobs 2]

For each index: its training patients with reports in four parts; each recipe (pictures stretched or padded, global loss or
all of the stage, 50 or 100 epochs) learns from three and is asked about the fourth, four times. The recipe whose precision
at 1, 5 and 10 is highest above chance, on average, is told with the settings that make it.
"""

import argparse
import concurrent.futures
import itertools
import json
import pathlib
import random
import subprocess
import tempfile

import numpy as np

PARTS = 4
CONFIG = pathlib.Path(__file__).parent.parent / "configs" / "cxr-mini-retrieval.toml"
RECIPES = list(itertools.product(("pad", "stretch"), (0.0, 1.0), (50, 100)))


def settings(recipe: tuple) -> list[str]:
    fit, local, epochs = recipe
    changes = {"preprocess.fit": fit, "stage.0.weights.local-image": local, "stage.0.weights.local-text": local,
               "stage.0.epochs": epochs}
    return [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]


def split(index: pathlib.Path, part: int, out: pathlib.Path) -> None:
    records = [record for record in map(json.loads, index.open()) if record["split"] == "train"]
    patients = sorted({record["patient_group"] for record in records if record.get("report")})
    random.Random(0).shuffle(patients)
    held = set(patients[part::PARTS])
    lines = (json.dumps({**record, "split": "val" if record["patient_group"] in held else "train"}) for record in records)
    out.write_text("".join(f"{line}\n" for line in lines))


def above_chance(trainer: str, index: pathlib.Path, folder: pathlib.Path, part: int, recipe: tuple) -> list[float]:
    """Of each image of a part: the mean over 1, 5, 10 of precision less chance."""
    with tempfile.TemporaryDirectory(dir=folder) as run:
        data, out = pathlib.Path(run, "index.jsonl"), pathlib.Path(run, "out")
        split(index, part, data)
        call = lambda *args: subprocess.run([trainer, *map(str, args)], check=True, stdout=subprocess.PIPE).stdout
        call("-q", "pretrain", "--config", CONFIG, "--data", data, "--out", out, "--cache", folder / "cache", *settings(recipe))
        told = call("--json", "evaluate", "--task", "retrieval", "--checkpoint", out, "--data", data, "--split", "val")
        return [float(np.mean(query["precision"][:3]) - query["chance"]) for query in json.loads(told)["queries"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("indices", nargs="+", type=pathlib.Path, metavar="INDEX")
    parser.add_argument("--trainer", default="trainer")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for index in args.indices:
            runs = {recipe: [pool.submit(above_chance, args.trainer, index, pathlib.Path(folder), part, recipe)
                             for part in range(PARTS)] for recipe in RECIPES}
            means = {recipe: np.mean([x for run in of for x in run.result()]) for recipe, of in runs.items()}
            print(index, " ".join(f"{mean:.4f}" for mean in means.values()))
            print("  chosen:", " ".join(settings(max(means, key=means.get))), flush=True)


if __name__ == "__main__":
    main()
