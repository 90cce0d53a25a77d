"""Golden inputs of TorchXRayVision: drawn pictures, and what its own preprocessing makes of them.

    python torchxrayvision_input.py FOLDER     (needs torchxrayvision 1.5.7, so not part of the tests)

writes `torchxrayvision_input.f32`: for each shape of SHAPES the 32x32 input, f32, little endian. The test in
`runtime/radiograph/tests` draws the same pictures and compares.
"""

import sys
from pathlib import Path

import numpy as np
import torchxrayvision as xrv

SIDE = 32
# Rows and columns: smaller, odd, wide, tall, larger than the input, and one side smaller.
SHAPES = [(32, 32), (75, 75), (97, 131), (131, 98), (20, 20), (300, 257), (20, 45)]


def picture(height, width):
    """Integers only, so that it is the same everywhere."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    return ((x * x * 3 + y * 5 + x * y // 7 + 90) % 256).astype(np.uint8)


def main():
    crop, resize = xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(SIDE)
    made = []
    for height, width in SHAPES:
        image = xrv.datasets.normalize(picture(height, width), 255)
        made.append(resize(crop(image[None, ...])).astype("<f4"))
    # A bright picture: what lies beside it is darker than all of it.
    bright = xrv.datasets.normalize(200 + picture(50, 50) // 8, 255)
    made.append(resize(crop(bright[None, ...])).astype("<f4"))
    # Enlarged, the mean shows at its edge unless it is cut to the picture's range.
    small = xrv.datasets.normalize(200 + picture(20, 20) // 8, 255)
    made.append(resize(crop(small[None, ...])).astype("<f4"))
    Path(sys.argv[1], "torchxrayvision_input.f32").write_bytes(np.concatenate(made).tobytes())


if __name__ == "__main__":
    main()
