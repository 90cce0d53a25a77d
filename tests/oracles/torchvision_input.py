"""Golden inputs of torchvision: drawn pictures, and what its preset of ImageNet makes of them.

    python torchvision_input.py FOLDER     (needs torchvision 0.26.0, so not part of the tests)

writes `torchvision_input.f32`: for each shape of SHAPES two 32x32 inputs, f32, little endian, 0 to 1: of a tensor of
floats, and of a Pillow picture, whose pixels torchvision rounds to whole grey values after each pass. The test in
`runtime/radiograph/tests` draws the same pictures and compares.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms._presets import ImageClassification

SIDE, SHORTER = 32, 37  # 224 and 256, seven times smaller
# Rows and columns: square, odd, wide, tall, smaller than the input, very wide; odd differences, whose half is rounded.
SHAPES = [(64, 64), (75, 75), (97, 131), (131, 98), (20, 20), (300, 257), (20, 45), (30, 200), (37, 40), (224, 180)]


def picture(height, width):
    """Integers only, so that it is the same everywhere."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    return ((x * x * 3 + y * 5 + x * y // 7 + 90) % 256).astype(np.uint8)


def main():
    transform = ImageClassification(crop_size=SIDE, resize_size=SHORTER, mean=(0.0,), std=(1.0,))
    made = []
    for height, width in SHAPES:
        grey = picture(height, width)
        real = torch.from_numpy(grey.astype(np.float32) / np.float32(255))[None]
        for of in (real, Image.fromarray(grey)):
            made.append(transform(of).numpy().astype("<f4"))
    Path(sys.argv[1], "torchvision_input.f32").write_bytes(np.concatenate(made).tobytes())


if __name__ == "__main__":
    main()
