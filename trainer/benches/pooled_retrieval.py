#!/usr/bin/env python3
"""Retrieval of several folds and seeds put together: precision at K, how far it is above chance
and above shuffled rankings, and their intervals.

    for each fold and seed: trainer --json evaluate --task retrieval --checkpoint RUN --data INDEX > RUN.json
    .venv/bin/python trainer/benches/pooled_retrieval.py RUN.json …

Reports are ranked within each fold. An image asked about by several runs (seeds) counts once, with the mean of what they
found, so the interval is that of the recipe on other patients like these: patients are resampled, with all their images.
"""

import argparse
import json
import pathlib
import sys

import numpy as np


def read(file: pathlib.Path) -> dict:
    try:
        result = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {file}: {error}")
    if result.get("task") != "retrieval" or "queries" not in result:
        sys.exit(f"error: {file}: expected what `trainer --json evaluate --task retrieval` prints")
    return result


def pool(results: list[dict], replicates: int, seed: int) -> dict:
    tops = [at["k"] for at in results[0]["precision"]]
    tops = [k for k in tops if all(k in [at["k"] for at in result["precision"]] for result in results)]
    found: dict[str, list] = {}
    patient = {}
    for result in results:
        for query in result["queries"]:
            found.setdefault(query["id"], []).append(
                [query["precision"][: len(tops)], query["shuffled"][: len(tops)], [query["chance"]] * len(tops)])
            patient[query["id"]] = query["patient"]
    runs = {len(rows) for rows in found.values()}
    if len(runs) > 1:
        sys.exit(f"error: some images were asked about {min(runs)} times and some {max(runs)}: expected every seed to have every fold")
    values = np.array([np.mean(rows, 0) for rows in found.values()])  # [image, (precision, shuffled, chance), K]
    names = sorted(set(patient.values()))
    member = np.array([[patient[image] == name for image in found] for name in names], float)  # [patient, image]
    precision, shuffled, chance = values.transpose(1, 0, 2)
    drawn = np.random.default_rng(seed).integers(0, len(names), (replicates, len(names)))
    images = member.sum(1)[drawn].sum(1)

    def estimate(of: np.ndarray) -> list[float]:
        means = (member @ of)[drawn].sum(1) / images
        return [float(of.mean()), *map(float, np.quantile(means, [0.025, 0.975]))]

    rows = [{"k": k, "precision": estimate(precision[:, i]), "chance": float(chance[:, i].mean()),
             "above_chance": estimate((precision - chance)[:, i]), "shuffled": float(shuffled[:, i].mean()),
             "lift": estimate((precision - shuffled)[:, i])}
            for i, k in enumerate(tops)]
    return {"images": len(found), "patients": len(names), "runs_per_image": runs.pop(), "at": rows}


def tell(result: dict) -> None:
    print(f"{result['images']} images of {result['patients']} patients, each asked about by {result['runs_per_image']} runs")
    for row in result["at"]:
        interval = lambda name: "{:.3f} [{:.3f}, {:.3f}]".format(*row[name])
        print(f"  precision at {row['k']}: {interval('precision')}, chance {row['chance']:.3f}, "
              f"above it {interval('above_chance')}, shuffled {row['shuffled']:.3f}, lift {interval('lift')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=pathlib.Path, metavar="RUN.json")
    parser.add_argument("--replicates", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = pool([read(file) for file in args.results], args.replicates, args.seed)
    if args.json:
        print(json.dumps(result))
    else:
        tell(result)


if __name__ == "__main__":
    main()
