#!/usr/bin/env python3
"""Are these classifiers better than those? Mean AUROC of each group of runs, the difference and its interval.

    .venv/bin/python trainer/benches/paired_auroc.py --ours probe-42/report probe-43/report --theirs random-0/report random-1/report

A report is the folder of `trainer evaluate --task classification --report DIR`; all of them must be of the same images.
Patients are resampled, the same ones for every run, so the interval is that of the difference on other patients like
these; how much runs differ by their seeds is in the single figures.
"""

import argparse
import csv
import json
import pathlib
import sys

import numpy as np
from sklearn.metrics import roc_auc_score


def read(report: pathlib.Path) -> dict[str, dict[str, tuple[str, int, float]]]:
    """finding → image → (patient, truth, score), of images whose truth is known"""
    file = report / "scores.csv"
    if not file.is_file():
        sys.exit(f"error: {file}: no such file, expected what `trainer evaluate --report {report}` writes")
    findings: dict[str, dict[str, tuple[str, int, float]]] = {}
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            for column, truth in row.items():
                finding = column.removesuffix(" truth")
                if finding != column and truth in ("0", "1"):
                    score = float(row[f"{finding} score"])
                    findings.setdefault(finding, {})[row["id"]] = (row["group"], int(truth), score)
    if not findings:
        sys.exit(f"error: {file}: no column `… truth` with 0 and 1, expected what `trainer evaluate --report` writes")
    return findings


def compare(ours: list[dict], theirs: list[dict], replicates: int, seed: int) -> dict:
    images = sorted(ours[0])
    for run in ours + theirs:
        if sorted(run) != images:
            sys.exit("error: the reports are of different images, expected the same split and filters")
    patients = sorted({ours[0][image][0] for image in images})
    where = {patient: [] for patient in patients}
    for at, image in enumerate(images):
        where[ours[0][image][0]].append(at)
    truth = np.array([ours[0][image][1] for image in images])
    scores = [np.array([[run[image][2] for image in images] for run in group]) for group in (ours, theirs)]

    def aurocs(sample: np.ndarray) -> list[list[float]]:
        return [[roc_auc_score(truth[sample], run[sample]) for run in group] for group in scores]

    random, differences = np.random.default_rng(seed), []
    while len(differences) < replicates:
        drawn = random.choice(len(patients), len(patients))
        sample = np.concatenate([where[patients[at]] for at in drawn])
        if 0 < truth[sample].sum() < len(sample):
            a, b = aurocs(sample)
            differences.append(np.mean(a) - np.mean(b))
    a, b = aurocs(np.arange(len(images)))
    low, high = np.quantile(differences, [0.025, 0.975])
    return {"images": len(images), "patients": len(patients), "ours": a, "theirs": b,
            "difference": float(np.mean(a) - np.mean(b)), "interval": [float(low), float(high)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", nargs="+", required=True, type=pathlib.Path, metavar="REPORT")
    parser.add_argument("--theirs", nargs="+", required=True, type=pathlib.Path, metavar="REPORT")
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    ours, theirs = [read(report) for report in args.ours], [read(report) for report in args.theirs]
    for finding in ours[0]:
        if any(finding not in run for run in ours + theirs):
            sys.exit(f"error: not every report has {finding}")
        groups = ([run[finding] for run in group] for group in (ours, theirs))
        result = compare(*groups, args.replicates, args.seed)
        if args.json:
            print(json.dumps({"finding": finding, **result}))
            continue
        a, b = (", ".join(f"{value:.3f}" for value in result[group]) for group in ("ours", "theirs"))
        low, high = result["interval"]
        print(f"{finding}, {result['images']} images of {result['patients']} patients: {a} against {b}; "
              f"difference {result['difference']:.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
