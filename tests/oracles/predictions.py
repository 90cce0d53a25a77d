"""Computes the figures of `trainer evaluate` again, from its predictions alone.

usage: predictions.py PREDICTIONS RESULT [FEATURES]
PREDICTIONS is what --predictions wrote, RESULT what --json printed of the same run, FEATURES (--task linear) what
--features wrote; exits 1 at the first figure that differs by more than 1e-9 (detection: 1e-6, as pycocotools rounds)
needs numpy, scikit-learn, pycocotools
"""

import json
import sys

import numpy as np
from pycocotools import mask as coco
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from metrics import RATES, binary_oracle, classes_oracle, coco_map, froc

TOLERANCE = 1e-9


def read(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def same(name, ours, theirs, tolerance=TOLERANCE):
    """`ours` may be an estimate with its interval."""
    ours = ours["value"] if isinstance(ours, dict) else ours
    if ours is None or theirs is None:
        equal = ours is theirs
    else:
        equal = abs(ours - theirs) <= tolerance
    if not equal:
        sys.exit(f"{name}: the program says {ours}, its predictions give {theirs}")


def mean(values):
    return float(np.mean(values)) if len(values) else None


def scored(lines, number):
    """Probability (f32, as the program ranks) and truth of one finding where it is known."""
    findings = [line["findings"][number] for line in lines]
    known = [f for f in findings if f["truth"] is not None]
    return np.array([f["probability"] for f in known], dtype=np.float32), np.array([f["truth"] for f in known], dtype=bool), known


def classification(lines, result):
    areas, pooled = [], []
    for number, finding in enumerate(result["findings"]):
        scores, truth, known = scored(lines, number)
        name = finding["name"]
        assert {f["name"] for f in known} == {name} and {f["threshold"] for f in known} == {finding["threshold"]}
        same(f"{name} positive", finding["positive"], int(truth.sum()))
        same(f"{name} negative", finding["negative"], int((~truth).sum()))
        case = {"scores": scores.astype(float).tolist(), "truth": truth.tolist(), "threshold": float(np.float32(finding["threshold"]))}
        theirs = binary_oracle(case)
        for figure in ["auroc", "auprc", "sensitivity", "specificity", "accuracy", "f1", "kappa"]:
            if finding[figure] is None and theirs[figure] is not None:
                continue  # it has no interval: fewer than half of the resamples have the figure
            same(f"{name} {figure}", finding[figure], theirs[figure])
        same(f"{name} brier", finding["brier"], theirs["brier"])
        areas += [] if theirs["auroc"] is None else [theirs["auroc"]]
        pooled.append((scores, truth))
    same("macro AUROC", result["macro_auroc"], mean(areas))
    scores, truth = (np.concatenate(part) for part in zip(*pooled))
    same("micro AUROC", result["micro_auroc"], sk.roc_auc_score(truth, scores))


def linear(lines, result, features):
    """scikit-learn's probe on the same embeddings."""
    classification(lines, result)
    images = read(features)
    for number, probe in enumerate(result["probes"]):
        label = probe["name"]

        def part(split):
            own = [i for i in images if i["split"] == split and i["truth"][label] is not None]
            return np.array([i["embedding"] for i in own]), np.array([i["truth"][label] for i in own])

        (x, y), (val_x, val_y) = part("train"), part("val")
        same(f"{label} train_positive", probe["train_positive"], int(y.sum()))
        scaler = StandardScaler().fit(x)

        def fitted(c):
            return LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(scaler.transform(x), y)

        def area(model):
            return sk.roc_auc_score(val_y, model.predict_proba(scaler.transform(val_x))[:, 1].astype(np.float32))

        # Rounding may swap one pair that all but ties.
        pair = 1 / (val_y.sum() * (~val_y).sum()) + TOLERANCE
        chosen = fitted(probe["c"])
        same(f"{label} val AUROC", probe["val_auroc"], area(chosen), pair)
        best = max(area(fitted(10 ** (half / 2))) for half in range(-8, 9))
        assert best <= probe["val_auroc"] + pair, f"{label}: scikit-learn finds a C with val AUROC {best}, ours has {probe['val_auroc']}"
        test = {i["id"]: i["embedding"] for i in images if i["split"] == result["split"]}
        theirs = chosen.predict_proba(scaler.transform(np.array([test[line["id"]] for line in lines])))[:, 1]
        for line, p in zip(lines, theirs):
            same(f"{label} of {line['id']}", line["findings"][number]["probability"], p, 1e-5)


def segmentation(lines, result):
    for region in result["regions"]:
        own = [r for line in lines for r in line["regions"] if r["name"] == region["name"]]
        dice, iou = [], []
        for r in own:
            drawn, truth = (coco.decode(coco.frPyObjects(r[key], *r[key]["size"])).ravel() for key in ["mask", "truth"])
            same("area", r["area"], int(drawn.sum()))
            same("true area", r["true_area"], int(truth.sum()))
            nothing = not drawn.any() and not truth.any()
            dice.append(1.0 if nothing else sk.f1_score(truth, drawn))
            iou.append(1.0 if nothing else sk.jaccard_score(truth, drawn))
            same("Dice of an image", r["dice"], dice[-1])
            same("IoU of an image", r["iou"], iou[-1])
        present = [at for at, r in enumerate(own) if r["true_area"] > 0]
        same("images", region["images"], len(own))
        same("empty", region["empty"], len(own) - len(present))
        for name, values in [("dice", dice), ("iou", iou)]:
            same(name, region[name], mean(values))
            same(f"{name}_present", region[f"{name}_present"], mean([values[at] for at in present]))


def detection(lines, result):
    names = [label["name"] for label in lines[0]["labels"]]
    rect = lambda b: {"x1": b["x"], "y1": b["y"], "x2": b["x"] + b["width"], "y2": b["y"] + b["height"]}
    images = [
        {
            "detections": [{"class": names.index(b["name"]), "score": float(np.float32(b["score"])), "rect": rect(b)} for b in line["boxes"]],
            "truth": [[names.index(b["name"]), rect(b)] for b in line["truth"]],
        }
        for line in lines
    ]
    assert any(image["detections"] for image in images), "no image has a box"
    both = [image for image in images if image["detections"] and image["truth"]]
    count, half = len(names), slice(2, 3)
    same("mAP", result["map"], coco_map(images, labels=count), 1e-6)
    same("mAP, mgca-compat", result["map_mgca_compat"], coco_map(both, labels=count), 1e-6)
    for number, own in enumerate(result["classes"]):
        assert own["name"] == names[number] and own["threshold"] == lines[0]["labels"][number]["threshold"]
        same("boxes", own["boxes"], sum(1 for image in images for label, _ in image["truth"] if label == number))
        same("AP", own["ap"], coco_map(images, number, labels=count), 1e-6)
        same("AP50", own["ap50"], coco_map(images, number, half, labels=count), 1e-6)
        for rate, ours, theirs in zip(RATES, own["froc"], froc(images, number), strict=True):
            same(f"FROC at {rate}", ours, theirs)
        same("FROC", own["froc_mean"], mean(froc(images, number)))
    there = [bool(image["truth"]) for image in images]
    surest = [max((d["score"] for d in image["detections"]), default=0.0) for image in images]
    same("image AUROC", result["image_auroc"], sk.roc_auc_score(there, surest) if len(set(there)) == 2 else None)


def zero_shot(lines, result):
    names = result["classes"]
    scores = np.array([[s["score"] for s in line["scores"]] for line in lines], dtype=np.float32)
    assert all([s["name"] for s in line["scores"]] == names for line in lines)
    truth = np.array([names.index(line["truth"]) for line in lines])
    theirs = classes_oracle({"predicted": scores.argmax(1), "truth": truth})
    for ours, figure in [("accuracy", "accuracy"), ("macro_precision", "precision"), ("macro_recall", "recall"), ("macro_f1", "f1"), ("kappa", "kappa")]:
        same(ours, result[ours], theirs[figure])
    for number, name in enumerate(names):
        own = truth == number
        same(f"AUROC {name}", result["auroc"][name], sk.roc_auc_score(own, scores[:, number]) if 0 < own.sum() < len(own) else None)


def retrieval(lines, result):
    at = {line["id"]: number for number, line in enumerate(lines)}
    labels = [frozenset(line["labels"]) for line in lines]
    group = [line["report_group"] for line in lines]
    n = len(lines)
    ranked = [[at[report["id"]] for report in line["ranked"]] for line in lines]
    for line in lines:
        scores = [report["score"] for report in line["ranked"]]
        assert scores == sorted(scores, reverse=True), f"{line['id']}: not the best first"
    for name, key, share in [("precision", labels, np.mean), ("recall", group, np.any)]:
        for row in result[name]:
            k = row["k"]
            got = np.array([[float(share([key[r] == key[image] for r in ranked[asked][:k]])) for asked in range(n)] for image in range(n)])
            value, shuffled = got.diagonal(), got.mean(1)
            alike = np.array([sum(other == own for other in key) for own in key])
            if name == "precision":
                chance = alike / n
            else:
                chance = np.array([1 - np.prod([max(n - a - i, 0) / (n - i) for i in range(k)]) for a in alike])
            same(f"{name} at {k}", row["value"], value.mean())
            same(f"{name} at {k}, chance", row["chance"], chance.mean())
            same(f"{name} at {k}, above chance", row["above_chance"], (value - chance).mean())
            same(f"{name} at {k}, shuffled", row["shuffled"], shuffled.mean())
            same(f"{name} at {k}, lift", row["lift"], (value - shuffled).mean())


def main():
    lines, [result] = read(sys.argv[1]), read(sys.argv[2])
    task = result["task"]
    assert lines and {line["task"] for line in lines} == {task} and {line["split"] for line in lines} == {result["split"]}
    assert len({line["id"] for line in lines}) == len(lines), "an image twice"
    for count, of in [("images", "id"), ("pairs", "id"), ("patients", "patient")]:
        if count in result:
            same(count, result[count], len({line[of] for line in lines}))
    tasks = {"classification": classification, "segmentation": segmentation, "detection": detection, "zero-shot": zero_shot, "retrieval": retrieval}
    if task == "linear":
        linear(lines, result, sys.argv[3])
    else:
        tasks[task](lines, result)
    print(f"{task}: every figure of {len(lines)} images again")


main()
