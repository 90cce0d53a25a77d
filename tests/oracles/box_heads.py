"""What box heads of other tools find, in numpy and double precision, written from their papers and from torchvision.

    python box_heads.py CASES.json                one line of JSON a case: boxes [label, score, x, y, width, height]
    python box_heads.py --torchvision             holds this file to torchvision itself (needs it, so not part of the tests)

A case: `input` [rows, columns], `least` (score), `boxes` (a bundle's contract for its head, JSON), `outputs` (name to
`shape` and `data`).
"""

import json
import math
import sys

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def around(centre, sides):
    return np.concatenate([centre - sides / 2, centre + sides / 2], axis=-1)


def meshed(rows, columns):
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.stack([x, y], axis=-1).astype(float)  # [rows, columns, 2]


def yolo_maps(head, labels, outputs, size):
    for level, name in enumerate(head["outputs"]):
        values = outputs[name][0]  # [channels, rows, columns]
        rows, columns = values.shape[1:]
        step = np.array([size[1] / columns, size[0] / rows])
        cells = meshed(rows, columns)
        if head["version"] == "v8":
            values = values.transpose(1, 2, 0)
            bins = (values.shape[-1] - labels) // 4
            sides = softmax(values[..., : 4 * bins].reshape(rows, columns, 4, bins), -1) @ np.arange(bins)
            boxes = np.concatenate([cells + 0.5 - sides[..., :2], cells + 0.5 + sides[..., 2:]], -1)
            yield (boxes * np.tile(step, 2)).reshape(-1, 4), sigmoid(values[..., 4 * bins :]).reshape(-1, labels)
            continue
        for number, anchor in enumerate(np.array(head["anchors"][level])):
            width = labels + 5
            own = values[number * width : (number + 1) * width].transpose(1, 2, 0)
            if head["version"] == "v3":
                centre, sides = (sigmoid(own[..., :2]) + cells) * step, np.exp(own[..., 2:4]) * anchor
            else:
                centre = (2 * sigmoid(own[..., :2]) - 0.5 + cells) * step
                sides = (2 * sigmoid(own[..., 2:4])) ** 2 * anchor
            scores = sigmoid(own[..., 4:5]) * sigmoid(own[..., 5:])
            yield around(centre, sides).reshape(-1, 4), scores.reshape(-1, labels)


def yolo_rows(head, outputs):
    rows = outputs[head["output"]][0]
    if head["version"] == "v8":
        rows = rows.T
        yield around(rows[:, :2], rows[:, 2:4]), rows[:, 4:]
    else:
        yield around(rows[:, :2], rows[:, 2:4]), rows[:, 4:5] * rows[:, 5:]


def in_rows(head, names, per_box, outputs):
    """[boxes, per_box] of all levels, in torchvision's order: cell by cell, its boxes one after the other."""
    arrays = [outputs[name] for name in head[names]]
    if arrays[0].ndim == 3:
        return arrays[0][0]
    flat = []
    for array in arrays:
        _, channels, rows, columns = array.shape
        own = array[0].reshape(channels // per_box, per_box, rows, columns)
        flat.append(own.transpose(2, 3, 0, 1).reshape(-1, per_box))
    return np.concatenate(flat)


def dense(head, labels, outputs, size):
    centres, sides = [], []
    for level, stride in enumerate(head["strides"]):
        rows, columns = math.ceil(size[0] / stride), math.ceil(size[1] / stride)
        step = [stride, stride] if head["form"] == "ssd" else [size[1] // columns, size[0] // rows]
        own = np.array(head["anchors"][level]) if head["anchors"] else np.array([[stride, stride]])
        centre = (meshed(rows, columns) + head["centre"]) * np.array(step)
        centres.append(np.repeat(centre.reshape(-1, 2), len(own), axis=0))
        sides.append(np.tile(own, (rows * columns, 1)))
    centres, sides = np.concatenate(centres), np.concatenate(sides)
    t = in_rows(head, "boxes", 4, outputs)
    if head["form"] == "fcos":
        distances = (np.exp(t) if head["exponential"] else t) * np.tile(sides, 2)
        boxes = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], -1)
        scores = sigmoid(in_rows(head, "scores", labels, outputs))
        return boxes, np.sqrt(scores * sigmoid(in_rows(head, "centreness", 1, outputs)))
    t = t * np.array(head["variances"])
    boxes = around(t[:, :2] * sides + centres, np.exp(np.minimum(t[:, 2:], math.log(1000 / 16))) * sides)
    if head["form"] == "ssd":
        return boxes, softmax(in_rows(head, "scores", labels + 1, outputs), -1)[:, 1:]
    return boxes, sigmoid(in_rows(head, "scores", labels, outputs))


def overlap(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = np.prod(np.maximum(high - low, 0))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def find(case):
    contract, size = case["boxes"], case["input"]
    outputs = {name: np.array(own["data"], float).reshape(own["shape"]) for name, own in case["outputs"].items()}
    labels = contract["labels"]
    (kind, head), = contract["head"].items()
    if kind == "yolo-maps":
        levels = list(yolo_maps(head, len(labels), outputs, size))
    elif kind == "yolo-rows":
        levels = list(yolo_rows(head, outputs))
    else:
        levels = [dense(head, len(labels), outputs, size)]
    boxes, scores = (np.concatenate(parts) for parts in zip(*levels))
    boxes = np.clip(boxes, 0, [size[1], size[0]] * 2)
    kept = []
    for row, label in sorted(np.argwhere(scores >= case["least"]).tolist(), key=lambda at: -scores[at[0], at[1]]):
        box = boxes[row]
        if labels[label] is None or (box[2:] <= box[:2]).any():
            continue
        if any(own == label and overlap(boxes[other], box) > contract["overlap"] for other, own in kept):
            continue
        kept.append((row, label))
    found = []
    for row, label in kept[: contract["keep"]]:
        x, y, right, bottom = boxes[row].tolist()
        found.append([labels[label], float(scores[row, label]), x, y, right - x, bottom - y])
    return found


def from_torchvision():
    """Random heads through torchvision's own anchors, coders and suppression."""
    import torch
    from torchvision.models.detection import _utils, anchor_utils, image_list
    from torchvision.ops import boxes as ops

    torch.manual_seed(0)
    size, labels = [96, 128], ["a", None, "c"]
    feature = lambda rows, columns: torch.zeros(1, 1, rows, columns)
    images = image_list.ImageList(torch.zeros(1, 3, *size), [tuple(size)])

    def compare(head, decoded, scores):
        contract = {"head": {"dense": head}, "labels": labels, "overlap": 0.4, "keep": 50}
        outputs = {name: {"shape": list(own.shape), "data": own.flatten().tolist()} for name, own in tensors.items()}
        case = {"input": size, "least": 0.6, "boxes": contract, "outputs": outputs}
        decoded = ops.clip_boxes_to_image(decoded, tuple(size))
        rows, classes = torch.where(scores >= 0.6)
        named = torch.tensor([labels[own] is not None for own in classes.tolist()])
        # torchvision shows boxes that lie wholly beside the picture as lines; we do not.
        named &= (decoded[rows, 2:] > decoded[rows, :2]).all(-1)
        rows, classes = rows[named], classes[named]
        kept = ops.batched_nms(decoded[rows], scores[rows, classes], classes, 0.4)[:50]
        expected = [[labels[classes[at]], scores[rows[at], classes[at]].item(), *decoded[rows[at]].tolist()] for at in kept]
        ours = [[name, score, x, y, x + w, y + h] for name, score, x, y, w, h in find(case)]
        assert len(expected) > 10 and len(ours) == len(expected), (len(ours), len(expected))
        for a, b in zip(ours, expected):
            assert a[0] == b[0] and np.allclose(a[1:], b[1:], atol=1e-3), (a, b)
        print(head["form"], len(ours), "boxes alike")

    base = {"centreness": [], "centre": 0.0, "exponential": False, "variances": [1.0] * 4}
    grids = [(12, 16), (6, 8)]
    total = sum(rows * columns for rows, columns in grids)
    generator = anchor_utils.AnchorGenerator(((16, 24), (32, 48)), ((0.5, 1.0, 2.0),) * 2)
    anchors = generator(images, [feature(*grid) for grid in grids])[0]
    sides = [(own[:, 2:] - own[:, :2]).tolist() for own in generator.cell_anchors]
    tensors = {"scores": torch.randn(1, total * 6, 3), "boxes": torch.randn(1, total * 6, 4)}
    retina = base | {"form": "retinanet", "scores": ["scores"], "boxes": ["boxes"], "strides": [8, 16], "anchors": sides}
    coder = _utils.BoxCoder((1.0,) * 4)
    compare(retina, coder.decode_single(tensors["boxes"][0], anchors), tensors["scores"][0].sigmoid())

    generator = anchor_utils.AnchorGenerator(((8,), (16,)), ((1.0,),) * 2)
    anchors = generator(images, [feature(*grid) for grid in grids])[0]
    tensors = {"scores": torch.randn(1, total, 3) + 1, "boxes": torch.rand(1, total, 4) * 3, "centre": torch.randn(1, total, 1)}
    fcos = base | {"form": "fcos", "scores": ["scores"], "boxes": ["boxes"], "centreness": ["centre"]}
    fcos |= {"strides": [8, 16], "anchors": []}
    coder = _utils.BoxLinearCoder(normalize_by_size=True)
    scores = (tensors["scores"][0].sigmoid() * tensors["centre"][0].sigmoid()).sqrt()
    compare(fcos, coder.decode(tensors["boxes"][0], anchors), scores)

    generator = anchor_utils.DefaultBoxGenerator([[2], [2, 3]], scales=[0.1, 0.3, 0.6], steps=[8, 16])
    anchors = generator(images, [feature(*grid) for grid in grids])[0]
    count = len(anchors)
    sides, at = [], 0
    for (rows, columns), own in zip(grids, generator.num_anchors_per_location()):
        sides.append((anchors[at : at + own, 2:] - anchors[at : at + own, :2]).tolist())
        at += rows * columns * own
    tensors = {"scores": torch.randn(1, count, 4) * 2, "boxes": torch.randn(1, count, 4)}
    ssd = base | {"form": "ssd", "scores": ["scores"], "boxes": ["boxes"], "strides": [8, 16], "anchors": sides}
    ssd |= {"centre": 0.5, "variances": [0.1, 0.1, 0.2, 0.2]}
    coder = _utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    compare(ssd, coder.decode_single(tensors["boxes"][0], anchors), tensors["scores"][0].softmax(-1)[:, 1:])


if __name__ == "__main__":
    if sys.argv[1] == "--torchvision":
        from_torchvision()
    else:
        with open(sys.argv[1]) as cases:
            for case in json.load(cases):
                print(json.dumps(find(case)))
