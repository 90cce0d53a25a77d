"""How soon `drift` notices changed images, and how often it is wrong: the table of runtime/docs/drift.md.

usage: drift.py CXR_MINI BUNDLE FOLDER [SPLITS]

CXR_MINI is a folder with manifest.jsonl (id, image, source, patient_group). Images of nih-cxr14 are the population;
those of another source are "another population". Every third image of the population is changed; pictures and numbers
stay in FOLDER and are not made again: another build needs another FOLDER. Needs numpy, pillow and built binaries:
`cargo build --release -p exporter` and `cargo build --release -p drift --example table`; EXPORTER and TABLE name
others.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy
from PIL import Image, ImageFilter

DATA, BUNDLE, FOLDER = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
SPLITS = sys.argv[4] if len(sys.argv) > 4 else "20"
EXPORTER = os.environ.get("EXPORTER", "target/release/exporter")
TABLE = os.environ.get("TABLE", "target/release/examples/table")
POPULATION = "nih-cxr14"


def window(x, centre, width):
    """A sigmoid, as DICOM PS3.3 C.11.2.1.3.1 defines it."""
    return 1 / (1 + numpy.exp(-4 * (x - centre) / width))


def collimated(x, share):
    y = numpy.zeros_like(x)
    rows, columns = int(x.shape[0] * share), int(x.shape[1] * share)
    y[rows:-rows, columns:-columns] = x[rows:-rows, columns:-columns]
    return y


def blurred(x, radius):
    picture = Image.fromarray((255 * x).round().astype(numpy.uint8))
    return numpy.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), numpy.float64) / 255


def dead_lines(x):
    y = x.copy()
    y[:, :: 64] = 1
    return y


def one_dead_line(x, axis):
    y = x.copy()
    y[(slice(None),) * axis + (int(0.4 * x.shape[axis]),)] = 0
    return y


def uneven_columns(x, deviation):
    """Each column of the detector with a gain of its own, the same ones in all images."""
    return x * (1 + deviation * numpy.random.default_rng(3).standard_normal(x.shape[1]))


CHANGES = {
    "none": lambda x, random: x,
    "gamma 1.3": lambda x, random: x**1.3,
    "gamma 0.77": lambda x, random: x ** (1 / 1.3),
    "gamma 1.1": lambda x, random: x**1.1,
    "gamma 0.6": lambda x, random: x**0.6,
    "film curve": lambda x, random: x + 0.3 * x * (1 - x) * (2 * x - 1),
    "shadows lifted": lambda x, random: numpy.log1p(2 * x) / numpy.log(3),
    "noise, deviation 2 %": lambda x, random: x + random.normal(0, 0.02, x.shape),
    "noise, deviation 5 %": lambda x, random: x + random.normal(0, 0.05, x.shape),
    "collimated by 5 % a side": lambda x, random: collimated(x, 0.05),
    "collimated by 12 % a side": lambda x, random: collimated(x, 0.12),
    "inverted": lambda x, random: 1 - x,
    "mirrored": lambda x, random: x[:, ::-1],
    "every other one mirrored": lambda x, random: x[:, ::-1] if random.random() < 0.5 else x,
    "upside down": lambda x, random: x[::-1],
    "sigmoid window, narrow": lambda x, random: window(x, 0.5, 0.6),
    "sigmoid window, wide": lambda x, random: window(x, 0.5, 1.4),
    "blurred, 2 pixels": lambda x, random: blurred(x, 2),
    "10 % brighter": lambda x, random: x * 1.1,
    "dead columns": lambda x, random: dead_lines(x),
    "one dead column": lambda x, random: one_dead_line(x, 1),
    "one dead row": lambda x, random: one_dead_line(x, 0),
    "uneven columns, 3 %": lambda x, random: uneven_columns(x, 0.03),
}


def main():
    records = [json.loads(line) for line in open(DATA / "manifest.jsonl")]
    population = [record for record in records if record["source"] == POPULATION]
    lines = []
    for name in CHANGES:
        shown = records if name == "none" else population[::3]
        lines += measured(FOLDER / name.replace(" ", "-"), shown, name)
    (FOLDER / "lines").write_text("".join(json.dumps(line) + "\n" for line in lines))
    subprocess.run([TABLE, FOLDER / "lines", SPLITS], check=True)


def measured(folder, records, name):
    """What the network sees of `records`, changed."""
    draw(folder, records, CHANGES[name])
    dump = folder.parent / f"{folder.name}.jsonl"
    if not dump.exists():
        subprocess.run(
            [EXPORTER, "-q", "drift", BUNDLE, "--calibration", folder, "--images-limit", "100000", "--dump", dump],
            check=True, stdout=subprocess.DEVNULL)
    for line in map(json.loads, open(dump)):
        record = records[int(pathlib.Path(line["image"]).stem)]
        changed = name if record["source"] == POPULATION else "another population"
        yield {"change": changed, "group": record["patient_group"], "gathered": line["gathered"]}


def draw(folder, records, change):
    folder.mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(records):
        path = folder / f"{number:05}.png"
        if not path.exists():
            grey = numpy.asarray(Image.open(DATA / record["image"]).convert("L"), numpy.float64) / 255
            changed = change(grey, numpy.random.default_rng(number)).clip(0, 1)
            Image.fromarray((255 * changed).round().astype(numpy.uint8)).save(path, compress_level=1)


if __name__ == "__main__":
    main()
