"""Holds `trainer metrics` to scikit-learn, NumPy and pycocotools on random and degenerate inputs.

usage: metrics.py TRAINER   (the binary); prints one line a kind, exits 1 at the first difference above 1e-6
(of bootstrap intervals, whose random numbers are others: above a tenth of their width)
needs numpy, scikit-learn, pycocotools
"""

import contextlib
import io
import json
import math
import subprocess
import sys
import tempfile
import warnings

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn import metrics as sk

THRESHOLDS = np.array([0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75])
RATES = [0.125, 0.25, 0.5, 1, 2, 4, 8]
TOLERANCE = 1e-6
REPLICATES = 4000


def binary_cases(rng):
    for size in [1, 2, 5, 30, 300]:
        for levels in [2, 5, 10_000]:  # few levels: many ties
            for share in [0.0, 0.2, 0.5, 1.0]:
                scores = (rng.integers(0, levels, size) / levels).astype(np.float32)
                truth = rng.random(size) < share
                yield {"kind": "binary", "scores": scores.tolist(), "truth": truth.tolist(), "threshold": 0.5}


def binary_oracle(case):
    scores = np.array(case["scores"], dtype=np.float64)
    truth = np.array(case["truth"], dtype=bool)
    called = scores >= case["threshold"]
    both = 0 < truth.sum() < len(truth)
    tp, fp = int((called & truth).sum()), int((called & ~truth).sum())
    fn, tn = int((~called & truth).sum()), int((~called & ~truth).sum())
    ratio = lambda part, whole: part / whole if whole else None
    kappa = sk.cohen_kappa_score(truth, called, labels=[False, True])
    return {
        "auroc": sk.roc_auc_score(truth, scores) if both else None,
        "auprc": sk.average_precision_score(truth, scores) if truth.any() else None,
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "precision": ratio(tp, tp + fp),
        "accuracy": sk.accuracy_score(truth, called),
        "f1": sk.f1_score(truth, called) if tp + fp + fn else None,
        "kappa": None if math.isnan(kappa) else kappa,
        "brier": float(np.mean((scores - truth) ** 2)),
        "roc": np.stack(sk.roc_curve(truth, scores, drop_intermediate=False)[:2], 1).tolist() if both else [],
    }


def classes_cases(rng):
    for size in [1, 4, 60]:
        for classes in [2, 3, 5]:
            for spread in [1, classes]:
                truth, predicted = rng.integers(0, spread, size), rng.integers(0, classes, size)
                yield {"kind": "classes", "classes": classes, "predicted": predicted.tolist(), "truth": truth.tolist()}


def classes_oracle(case):
    truth, predicted = case["truth"], case["predicted"]
    kappa = sk.cohen_kappa_score(truth, predicted)
    mean = dict(average="macro", zero_division=0)
    return {
        "accuracy": sk.accuracy_score(truth, predicted),
        "precision": sk.precision_score(truth, predicted, **mean),
        "recall": sk.recall_score(truth, predicted, **mean),
        "f1": sk.f1_score(truth, predicted, **mean),
        "kappa": None if math.isnan(kappa) else kappa,
    }


def multi_label_cases(rng):
    for size in [1, 3, 40]:
        for labels in [1, 4]:
            for unknown in [0.0, 0.5, 1.0]:
                for share in [0.0, 0.4]:
                    scores = (rng.integers(0, 8, (size, labels)) / 8).astype(np.float32)
                    truth = rng.random((size, labels)) < share
                    known = rng.random((size, labels)) >= unknown
                    rows = [[bool(t) if k else None for t, k in zip(*pair)] for pair in zip(truth, known)]
                    weights = rng.integers(0, 4, size)
                    yield {"kind": "multi-label", "scores": scores.tolist(), "truth": rows, "weights": weights.tolist()}


def multi_label_oracle(case):
    scores, weights = np.array(case["scores"]), np.array(case["weights"])

    def area(pairs):
        scores, truth, weights = (np.array([pair[at] for pair in pairs]) for at in range(3))
        kept = [(t, w) for t, w in zip(truth, weights) if w > 0]
        if len({bool(t) for t, _ in kept}) < 2:
            return None
        return float(sk.roc_auc_score(truth.astype(bool), scores, sample_weight=weights))

    columns = []
    for label in range(scores.shape[1]):
        rows = [(s[label], t[label], w) for s, t, w in zip(scores, case["truth"], weights)]
        columns.append([row for row in rows if row[1] is not None])
    areas = [a for a in (area(column) for column in columns if column) if a is not None]
    pooled = [row for column in columns for row in column]
    return {"macro": float(np.mean(areas)) if areas else None, "micro": area(pooled) if pooled else None}


def overlap_cases(rng):
    for share in [0.0, 0.1, 0.9]:
        for other in [0.0, 0.5, 1.0]:
            predicted, truth = rng.random(64) < share, rng.random(64) < other
            yield {"kind": "overlap", "predicted": predicted.tolist(), "truth": truth.tolist()}


def overlap_oracle(case):
    predicted, truth = case["predicted"], case["truth"]
    if not any(predicted) and not any(truth):
        return {"dice": 1.0, "iou": 1.0}  # SIIM's rule; scikit-learn has none
    return {"dice": sk.f1_score(truth, predicted), "iou": sk.jaccard_score(truth, predicted)}


def segmentation_cases(rng):
    """Images of few and of many patients; with regions in all, in some and in none of them."""
    for patients, images in [(1, 1), (1, 4), (7, 20), (40, 60)]:
        for there in [0.0, 0.5, 1.0]:
            case = {"kind": "segmentation", "images": [], "replicates": REPLICATES}
            for number in range(images):
                truth = rng.random(64) < 0.3 * (rng.random() < there)
                predicted = (truth ^ (rng.random(64) < rng.uniform(0, 0.3))) & (rng.random() < 0.8)
                masks = {"predicted": predicted.tolist(), "truth": truth.tolist()}
                case["images"].append({"patient": str(number % patients), **masks})
            yield case
    yield {"kind": "segmentation", "images": [], "replicates": 10}


def segmentation_oracle(case):
    values = [overlap_oracle(image) for image in case["images"]]
    present = [value for value, image in zip(values, case["images"]) if any(image["truth"])]
    mean = lambda of, name: float(np.mean([value[name] for value in of])) if of else None
    return {
        "dice": mean(values, "dice"),
        "iou": mean(values, "iou"),
        "dice_present": mean(present, "dice"),
        "iou_present": mean(present, "iou"),
        "interval": interval(np.array([v["dice"] for v in values]), [i["patient"] for i in case["images"]]),
    }


def interval(values, patients):
    """NumPy's bootstrap of a mean over patients; other random numbers, so equal within what chance does to its ends."""
    if not len(values):
        return None
    rng = np.random.default_rng(1)
    sums, counts = {}, {}
    for value, patient in zip(values, patients):
        sums[patient], counts[patient] = sums.get(patient, 0) + value, counts.get(patient, 0) + 1
    total, count = np.array(list(sums.values())), np.array(list(counts.values()))
    drawn = rng.integers(0, len(total), (REPLICATES, len(total)))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Near([low, high], 0.1 * (high - low) + TOLERANCE)


class Near(list):
    """Numbers that need not be equal to TOLERANCE."""

    def __init__(self, values, tolerance):
        super().__init__(values)
        self.tolerance = tolerance


def detection_cases(rng):
    def rect():
        x, y = rng.uniform(0, 80, 2)
        w, h = rng.uniform(5, 40, 2)
        return {"x1": x, "y1": y, "x2": x + w, "y2": y + h}

    def near(r):
        shift = rng.normal(0, 3, 4)
        moved = {key: value + d for (key, value), d in zip(r.items(), shift)}
        moved["x2"], moved["y2"] = max(moved["x2"], moved["x1"] + 1), max(moved["y2"], moved["y1"] + 1)
        return moved

    for images, boxes, levels in [(1, 1, 9), (8, 3, 4), (20, 5, 1000), (6, 0, 9), (3, 60, 1000)]:
        for quiet in [False, True]:
            case = {"kind": "detection", "classes": 2, "images": []}
            for _ in range(images):
                truth = [[int(rng.integers(2)), rect()] for _ in range(rng.integers(0, boxes + 1))]
                guesses = [] if quiet else [(c, near(r)) for c, r in truth for _ in range(rng.integers(0, 4))]
                guesses += [] if quiet else [(int(rng.integers(2)), rect()) for _ in range(rng.integers(0, 4))]
                score = lambda: float(np.float32(rng.integers(1, levels + 1) / levels))
                detections = [{"class": c, "score": score(), "rect": r} for c, r in guesses]
                case["images"].append({"detections": detections, "truth": truth})
            yield case


def coco_map(images, label=None, at=slice(None), labels=2):
    """Over all labels and every threshold, or of one label, at some thresholds."""
    box = lambda r: [r["x1"], r["y1"], r["x2"] - r["x1"], r["y2"] - r["y1"]]
    truth, found = [], []
    for number, image in enumerate(images):
        for own, r in image["truth"]:
            area = box(r)[2] * box(r)[3]
            truth.append({"id": len(truth) + 1, "image_id": number, "category_id": own, "bbox": box(r), "area": area, "iscrowd": 0})
        for d in image["detections"]:
            found.append({"image_id": number, "category_id": d["class"], "bbox": box(d["rect"]), "score": d["score"]})
    if not any(label in (None, t["category_id"]) for t in truth):
        return None
    if not found:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = {"info": {}, "images": [{"id": n} for n in range(len(images))], "annotations": truth, "categories": [{"id": n} for n in range(labels)]}
        data.createIndex()
        run = COCOeval(data, data.loadRes(found), "bbox")
        run.params.iouThrs = THRESHOLDS
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][at, :, :, 0, -1]
    precision = precision if label is None else precision[..., label]
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def froc(images, label):
    total = sum(1 for image in images for own, _ in image["truth"] if own == label)
    if total == 0:
        return None
    calls = [(d["score"], n, d["rect"]) for n, image in enumerate(images) for d in image["detections"] if d["class"] == label]
    calls.sort(key=lambda call: -call[0])
    best, found, wrong = {rate: 0 for rate in RATES}, set(), 0
    for _, number, r in calls:
        x, y = (r["x1"] + r["x2"]) / 2, (r["y1"] + r["y2"]) / 2
        hits = [(number, k) for k, (own, t) in enumerate(images[number]["truth"]) if own == label and t["x1"] <= x <= t["x2"] and t["y1"] <= y <= t["y2"]]
        wrong += not hits
        found.update(hits)
        for rate in RATES:
            if wrong <= rate * len(images):
                best[rate] = max(best[rate], len(found))
    return [best[rate] / total for rate in RATES]


def detection_oracle(case):
    images = case["images"]
    both = [image for image in images if image["detections"] and image["truth"]]
    there = [bool(image["truth"]) for image in images]
    surest = [max((d["score"] for d in image["detections"]), default=0.0) for image in images]
    half = slice(2, 3)  # THRESHOLDS[2] = 0.5
    return {
        "map": coco_map(images),
        "map_mgca_compat": coco_map(both),
        "ap": [coco_map(images, label) for label in range(2)],
        "ap50": [coco_map(images, label, half) for label in range(2)],
        "image_auroc": sk.roc_auc_score(there, surest) if len(set(there)) == 2 else None,
        "froc": [froc(images, 0), froc(images, 1)],
    }


def differs(ours, theirs):
    if ours is None or theirs is None:
        return ours is not theirs
    if isinstance(theirs, dict):
        return ours.keys() != theirs.keys() or any(differs(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, Near):
        return any(abs(a - b) > theirs.tolerance for a, b in zip(ours, theirs, strict=True))
    if isinstance(theirs, (list, tuple)):
        return len(ours) != len(theirs) or any(differs(a, b) for a, b in zip(ours, theirs))
    return not abs(ours - theirs) <= TOLERANCE


def main():
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(7)
    kinds = {
        "binary": (binary_cases, binary_oracle),
        "classes": (classes_cases, classes_oracle),
        "multi-label": (multi_label_cases, multi_label_oracle),
        "overlap": (overlap_cases, overlap_oracle),
        "segmentation": (segmentation_cases, segmentation_oracle),
        "detection": (detection_cases, detection_oracle),
    }
    for kind, (cases, oracle) in kinds.items():
        cases = list(cases(rng))
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write("\n".join(json.dumps(case) for case in cases))
            file.flush()
            answer = subprocess.run([sys.argv[1], "metrics", file.name], capture_output=True, text=True, check=True)
        lines = [json.loads(line) for line in answer.stdout.splitlines()]
        assert len(lines) == len(cases), f"{kind}: {len(lines)} answers to {len(cases)} cases"
        for case, ours in zip(cases, lines):
            theirs = oracle(case)
            if differs(ours, theirs):
                bad = {key: (ours.get(key), theirs[key]) for key in theirs if differs(ours.get(key), theirs[key])}
                sys.exit(f"{kind} differs (ours, theirs): {bad}\non {json.dumps(case)[:2000]}")
        print(f"{kind}: {len(cases)} cases equal within {TOLERANCE}")


if __name__ == "__main__":
    main()
