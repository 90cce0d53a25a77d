#!/usr/bin/env python3
"""What a plain kernel regression retrieves: how much image and report of an index have to do with each other at all.

    .venv/bin/python trainer/benches/retrieval_by_pixels.py --data index.jsonl [--side 16] [--folds 5]

A Gaussian kernel ridge regression (scikit-learn's) maps grey images of --side pixels to the reports' TF-IDF, reduced to
64 numbers; reports are ranked by cosine, as `trainer evaluate --task retrieval` ranks. Told are precision at 1, 5 and 10
(same labels), what chance gets, and what the same rankings are worth when each is given to every image; on the test split, having
learned from the others, and in folds over those, by patient. Needs scikit-learn and Pillow.
"""
import argparse, json
import numpy as np
from PIL import Image
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_ridge import KernelRidge

TOP = (1, 5, 10)


def labels(record):
    return "|".join(sorted(name for name, value in record["labels"].items() if value == 1))


def pixels(records, side):
    small = lambda path: np.asarray(Image.open(path).convert("L").resize((side, side), Image.BOX), float).ravel()
    return np.array([small(record["image"]) for record in records])


def precision(train, test, side):
    """[top, image] of: the precision, the same of shuffled rankings; and chance of each image."""
    x, y = pixels(train, side), pixels(test, side)
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    words = TfidfVectorizer(min_df=2, ngram_range=(1, 2), sublinear_tf=True, stop_words="english")
    reduce = TruncatedSVD(64, random_state=0)
    a = reduce.fit_transform(words.fit_transform([record["report"] for record in train]))
    b = reduce.transform(words.transform([record["report"] for record in test]))
    model = KernelRidge(alpha=1.0, kernel="rbf", gamma=1.0 / x.shape[1]).fit((x - mean) / deviation, a - a.mean(0))
    unit = lambda rows: rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9)
    ranked = np.argsort(-unit(model.predict((y - mean) / deviation)) @ unit(b - a.mean(0)).T, 1, kind="stable")
    same = np.array([[labels(q) == labels(r) for r in test] for q in test])
    own = np.array([np.take_along_axis(same, ranked[:, :k], 1).mean(1) for k in TOP])
    others = np.array([[same[i][ranked[:, :k]].mean() for i in range(len(test))] for k in TOP])
    return own, others, same.mean(1)


def tell(name, parts):
    own, others = (np.concatenate([part[i] for part in parts], 1) for i in (0, 1))
    chance = np.concatenate([part[2] for part in parts])
    draw = np.random.default_rng(0).integers(0, own.shape[1], (2000, own.shape[1]))
    for k, row, shuffled in zip(TOP, own, others):
        low, high = np.quantile(row[draw].mean(1), [0.025, 0.975])
        print(f"{name}: precision at {k}: {row.mean():.3f} [{low:.3f}, {high:.3f}], chance {chance.mean():.3f}, shuffled {shuffled.mean():.3f}")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter, epilog=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--side", type=int, default=16)
    p.add_argument("--folds", type=int, default=5)
    a = p.parse_args()
    records = [record for record in map(json.loads, open(a.data)) if record.get("report")]
    test = [record for record in records if record["split"] == "test"]
    rest = [record for record in records if record["split"] != "test"]
    groups = sorted({record["patient_group"] for record in rest})
    np.random.default_rng(0).shuffle(groups)
    fold = {group: i % a.folds for i, group in enumerate(groups)}
    parts = []
    for at in range(a.folds):
        inside = [fold[record["patient_group"]] == at for record in rest]
        parts.append(precision([r for r, i in zip(rest, inside) if not i], [r for r, i in zip(rest, inside) if i], a.side))
    tell(f"{a.folds} folds of {len(rest)} pairs", parts)
    tell(f"{len(test)} test pairs", [precision(rest, test, a.side)])


if __name__ == "__main__":
    main()
