#!/usr/bin/env python3
"""Makes runtime/examples/chest-lungs.bundle: left and right lung in int8, from images whose licence lets us ship what learnt from them.

    make build && python3 -m venv .lungs && .lungs/bin/pip install numpy onnxruntime pillow scipy
    .lungs/bin/python runtime/examples/chest_lungs.py --data ../shared/data/cxr-mini --out lungs

Only images of the classes `open` and `open-sa` (LICENCES.md of the data) teach: 530 of the NIH without masks, and eight with masks that
people drew, four of which choose the epoch and the thresholds. That is little, so the network teaches itself once:

    phantoms + 4 masks ─▶ network ─▶ its masks of the NIH's images, where they look like two lungs ─▶ network

Images under a non-commercial licence only measure. What is in the output folder already is not made again. The bundle is signed with a
key made there; a quarter of an hour of one core.
"""
import argparse
import json
import pathlib
import subprocess
import tomllib

import numpy
import onnxruntime
from PIL import Image
from scipy import ndimage

LABELS = ["right lung", "left lung"]
# Of the eight masks: two patients with four images choose the epoch and the thresholds, the rest teaches.
CHOOSE = {"cohen-037", "cohen-079", "cohen-080", "cohen-081"}
SIZE, WIDTH = 160, 20
PHANTOMS, PHANTOMS_LATER = 600, 150
# Marked CC BY, yet a case of Radiopaedia, whose licence is non-commercial: left out.
DOUBTFUL = {"cohen-199"}
# How often a real mask stands in the index beside the phantoms or the network's own masks.
REPEAT = 40


class Bench:
    def __init__(self, data: pathlib.Path, out: pathlib.Path, bin: pathlib.Path):
        self.data, self.out, self.bin = data.resolve(), out.resolve(), bin.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.records = [json.loads(line) for line in (self.data / "manifest.jsonl").read_text().splitlines()]

    def call(self, program: str, *arguments) -> None:
        print("+", program, *arguments, flush=True)
        subprocess.run([self.bin / program, *map(str, arguments)], check=True)

    def index(self, name: str, records: list) -> pathlib.Path:
        root = self.out / name
        root.mkdir(exist_ok=True)
        (root / "manifest.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        index = root / "index.jsonl"
        self.call("trainer", "-q", "index", "cxr-mini", "--root", root, "--out", index)
        return index

    def train(self, name: str, index: pathlib.Path, epochs: int) -> pathlib.Path:
        folder = self.out / f"{name}-checkpoint"
        if not (folder / "state.json").exists() or not json.loads((folder / "state.json").read_text()).get("finished"):
            self.call("trainer", "finetune", "--task", "segmentation", "--encoder", "none", "--data", index, "--labels", ",".join(LABELS),
                      "--image-size", SIZE, "--width", WIDTH, "--epochs", epochs, "--out", folder)
        return folder


def is_open(record: dict) -> bool:
    return record["licence_class"] in ("open", "open-sa") and record["id"] not in DOUBTFUL


def human(record: dict) -> list:
    return [mask for mask in record.get("lung_masks") or [] if mask["kind"].startswith("human")]


def split_sides(mask: numpy.ndarray) -> list | None:
    """Two lungs of one mask, the patient's right one first (it lies on the left of the picture); none if there are not two."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return None
    sizes = ndimage.sum_labels(mask, parts, range(1, count + 1))
    first, second = numpy.argsort(sizes)[::-1][:2]
    if sizes[second] < 0.2 * sizes[first]:
        return None
    lungs = [parts == first + 1, parts == second + 1]
    return sorted(lungs, key=lambda lung: lung.nonzero()[1].mean())


def write_masks(folder: pathlib.Path, id: str, lungs: list) -> list:
    folder.mkdir(parents=True, exist_ok=True)
    masks = []
    for label, lung in zip(LABELS, lungs):
        path = folder / f"{id}.{label.split()[0]}.png"
        Image.fromarray(lung.astype(numpy.uint8) * 255).save(path)
        masks.append({"path": str(path), "cls": label, "group": "anatomy"})
    return masks


def entry(record: dict, image: pathlib.Path, split: str, masks: list, suffix: str = "") -> dict:
    kept = {key: record[key] for key in ("source", "patient_id", "patient_group", "view", "width", "height")}
    return {"id": record["id"] + suffix, "split": split, "image": str(image), "masks": masks, "looked_for": LABELS, **kept}


def truth(bench: Bench, record: dict) -> list | None:
    mask = numpy.asarray(Image.open(bench.data / human(record)[0]["path"]).convert("L")) > 127
    lungs = split_sides(mask)
    return None if lungs is None else write_masks(bench.out / "truth", record["id"], lungs)


def real(bench: Bench) -> list:
    rows = []
    for record in bench.records:
        if is_open(record) and human(record):
            masks = truth(bench, record)
            assert masks, record["id"]
            image = bench.data / record["image"]
            if record["id"] in CHOOSE:
                rows.append(entry(record, image, "val", masks))
            else:
                rows += [entry(record, image, "train", masks, f".{n}") for n in range(REPEAT)]
    return rows


def unseen(bench: Bench) -> list:
    """Images that must not be learnt from: the test split of every index."""
    rows = []
    for record in bench.records:
        if not is_open(record) and human(record):
            masks = truth(bench, record)
            if masks is None:
                print(f"{record['id']}: its mask has not two lungs, left out of the test")
                continue
            rows.append(entry(record, bench.data / record["image"], "test", masks))
    return rows


def phantoms(bench: Bench, count: int) -> list:
    folder = bench.out / "phantoms"
    if not (folder / "manifest.jsonl").exists():
        bench.call("trainer", "phantom", "--out", folder, "--count", PHANTOMS, "--seed", 20, "--size", 192, "--dicom", 0)
    rows = []
    for line in (folder / "manifest.jsonl").read_text().splitlines()[:count]:
        record = json.loads(line)
        lungs = split_sides(numpy.asarray(Image.open(folder / record["lung_masks"][0]["path"])) > 127)
        if lungs is not None:
            rows.append(entry(record, folder / record["image"], "train", write_masks(bench.out / "phantom-masks", record["id"], lungs)))
    return rows


def own_masks(bench: Bench, name: str, checkpoint: pathlib.Path) -> list:
    """The network's masks of the NIH's images, where they look like two lungs."""
    onnx = bench.out / f"{name}.onnx"
    bench.call("exporter", "-q", "onnx", "--checkpoint", checkpoint, "--out", onnx)
    session = onnxruntime.InferenceSession(str(onnx))
    preprocess = tomllib.loads((checkpoint / "config.toml").read_text())["preprocess"]
    rows = []
    for record in bench.records:
        if not is_open(record) or human(record):
            continue
        picture = Image.open(bench.data / record["image"]).convert("L")
        probability = two_maps(session, picture, preprocess)
        lungs = plausible(probability)
        if lungs is not None:
            masks = write_masks(bench.out / f"{name}-own", record["id"], lungs)
            rows.append(entry(record, bench.data / record["image"], "train", masks))
    print(f"{name}: {len(rows)} of the network's own masks are kept")
    return rows


def two_maps(session, picture, preprocess) -> numpy.ndarray:
    """Probabilities of the two regions, in the picture's size; the mean of the picture and itself mirrored (with the sides swapped)."""
    pixels = numpy.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR), numpy.float32) / 255
    pixels = (pixels - numpy.float32(preprocess["mean"])) / numpy.float32(preprocess["std"])
    name = session.get_inputs()[0].name
    outputs = [output.name for output in session.get_outputs()]
    at = next(n for n, output in enumerate(outputs) if "seg" in output)

    def forward(values):
        shape = session.get_inputs()[0].shape
        batch = numpy.broadcast_to(values, (1, shape[1] if isinstance(shape[1], int) else 1, SIZE, SIZE)).astype(numpy.float32)
        return 1 / (1 + numpy.exp(-session.run(None, {name: batch})[at][0]))

    maps = (forward(pixels) + forward(pixels[:, ::-1])[::-1, :, ::-1]) / 2
    return numpy.stack([numpy.asarray(Image.fromarray(one).resize(picture.size, Image.Resampling.BILINEAR)) for one in maps])


def plausible(probability: numpy.ndarray) -> list | None:
    lungs = []
    for one in probability:
        parts, count = ndimage.label(one > 0.5)
        if count == 0:
            return None
        sizes = ndimage.sum_labels(one > 0.5, parts, range(1, count + 1))
        lung = ndimage.binary_fill_holes(parts == 1 + int(numpy.argmax(sizes)))
        certain = ((one < 0.25) | (one > 0.75)).mean()
        if not 0.05 < lung.mean() < 0.35 or sizes.max() < 0.85 * sizes.sum() or certain < 0.85:
            return None
        lungs.append(lung)
    right, left = (lung.nonzero()[1].mean() / lung.shape[1] for lung in lungs)
    both = (lungs[0] & lungs[1]).mean()
    ratio = lungs[0].mean() / lungs[1].mean()
    return lungs if right < 0.5 < left and both < 0.005 and 0.4 < ratio < 2.5 else None


def pack(bench: Bench, checkpoint: pathlib.Path, index: pathlib.Path) -> None:
    bundle, key, public = (bench.out / f"chest-lungs.{end}" for end in ("bundle", "key", "pub"))
    if not key.exists():
        bench.call("exporter", "keygen", "--out", key.with_suffix(""))
    bench.call("exporter", "quantize", "--int8", "--checkpoint", checkpoint, "--calibration", index, "--out", bundle, "--sign", key,
               "--id", "chest-lungs", "--version", "1.0.0", "--licence", "CC-BY-SA-4.0", "--intended-use",
               "Shows where the lungs are on frontal chest radiographs of adults, to try the toolkit; not for diagnosis.")
    bench.call("exporter", "verify", bundle, "--data", index, "--checkpoint", checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("target/debug"))
    arguments = parser.parse_args()
    bench = Bench(arguments.data, arguments.out, arguments.bin)
    seen, test = real(bench), unseen(bench)
    index = bench.index("round0", seen + phantoms(bench, PHANTOMS) + test)
    checkpoint = bench.train("round0", index, 12)
    rows = own_masks(bench, "round1", checkpoint)
    index = bench.index("round1", seen + rows + phantoms(bench, PHANTOMS_LATER) + test)
    checkpoint = bench.train("round1", index, 14)
    bench.call("trainer", "evaluate", "--task", "segmentation", "--checkpoint", checkpoint, "--data", index, "--report", bench.out / "report")
    pack(bench, checkpoint, index)


if __name__ == "__main__":
    main()
