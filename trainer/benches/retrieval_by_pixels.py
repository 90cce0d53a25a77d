#!/usr/bin/env python3
"""What a plain kernel regression retrieves: how much image and report of an index have to do with each other at all.

    .venv/bin/python trainer/benches/retrieval_by_pixels.py --data index.jsonl [--side 16] [--folds 5]

A Gaussian kernel ridge regression (scikit-learn's) maps grey images of --side pixels to the reports' TF-IDF, reduced to
64 numbers; reports are ranked by cosine, as `trainer evaluate --task retrieval` ranks. Then the same from nothing but the
images' width over height; and from pixels to the labels in place of words, on both sides: that learns from labels, and
reads them in the reports without fault, which no pre-training can. Each on the test split, having learned from the
others, and in folds over those, by patient. Needs scikit-learn and Pillow.
"""

import argparse
import json

import numpy as np
from PIL import Image
from pooled_retrieval import pool, tell
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_ridge import KernelRidge

TOP = (1, 5, 10)


def labels(record: dict) -> str:
    return "|".join(sorted(name for name, value in record["labels"].items() if value == 1))


def pixels(records: list[dict], side: int) -> np.ndarray:
    small = lambda path: np.asarray(Image.open(path).convert("L").resize((side, side), Image.BOX), float).ravel()
    return np.array([small(record["image"]) for record in records])


def aspect(records: list[dict], _side: int) -> np.ndarray:
    return np.array([[record["width"] / record["height"], record["height"] / record["width"]] for record in records])


def words(train: list[dict], test: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    count = TfidfVectorizer(min_df=2, ngram_range=(1, 2), sublinear_tf=True, stop_words="english")
    reduce = TruncatedSVD(64, random_state=0)
    a = reduce.fit_transform(count.fit_transform([record["report"] for record in train]))
    b = reduce.transform(count.transform([record["report"] for record in test]))
    return a - a.mean(0), b - a.mean(0)


def classes(train: list[dict], test: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    known = sorted({labels(record) for record in train})
    one_hot = lambda records: np.array([[labels(record) == name for name in known] for record in records], float)
    return one_hot(train), one_hot(test)


def retrieve(train: list[dict], test: list[dict], side: int, see, read) -> dict:
    """What `trainer --json evaluate --task retrieval` prints, as far as `pool` reads it."""
    x, y = see(train, side), see(test, side)
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    a, b = read(train, test)
    model = KernelRidge(alpha=1.0, kernel="rbf", gamma=1.0 / x.shape[1]).fit((x - mean) / deviation, a)
    unit = lambda rows: rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9)
    ranked = np.argsort(-unit(model.predict((y - mean) / deviation)) @ unit(b).T, 1, kind="stable")
    same = np.array([[labels(q) == labels(r) for r in test] for q in test])
    queries = [{"id": query["id"], "patient": query["patient_group"], "chance": same[i].mean(),
                "precision": [same[i][ranked[i, :k]].mean() for k in TOP],
                "shuffled": [same[i][ranked[:, :k]].mean() for k in TOP]} for i, query in enumerate(test)]
    return {"precision": [{"k": k} for k in TOP], "queries": queries}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--folds", type=int, default=5)
    args = parser.parse_args()
    records = [record for record in map(json.loads, open(args.data)) if record.get("report")]
    test = [record for record in records if record["split"] == "test"]
    rest = [record for record in records if record["split"] != "test"]
    groups = sorted({record["patient_group"] for record in rest})
    np.random.default_rng(0).shuffle(groups)
    fold = {group: i % args.folds for i, group in enumerate(groups)}
    ways = (("pixels to words", pixels, words), ("aspect to words", aspect, words), ("pixels to labels", pixels, classes))
    for name, see, read in ways:
        parts = []
        for at in range(args.folds):
            inside = [record for record in rest if fold[record["patient_group"]] == at]
            outside = [record for record in rest if fold[record["patient_group"]] != at]
            parts.append(retrieve(outside, inside, args.side, see, read))
        print(f"{name}, {args.folds} folds outside test:")
        tell(pool(parts, 5000, 0))
        print(f"{name}, test:")
        tell(pool([retrieve(rest, test, args.side, see, read)], 5000, 0))


if __name__ == "__main__":
    main()
