"""Run in a process of its own: warp by each of the named variants, and print what came out.

Arguments: variants such as ``reflect,uint8,CHW,mixed``, or ``uint16,float32`` for the generic loop.
"""

import hashlib
import json
import sys

import numpy as np

from fusewarp.kernels import compiling, warp

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 13, 17, 3), np.uint8)
MAPS = np.array(
    [[[0.9, 0.3, -4], [-0.3, 0.9, 5]], [[1.1, -0.3, -9], [0.3, 1.2, 9]]], np.float32
)  # a good part of each picture comes from outside, so that fill modes differ
MIXED = RNG.uniform(-0.5, 1, (2, 3, 4)).astype(np.float32)


def pixels(fill_mode, dtype, layout, colours):
    out = np.empty((2, 9, 35, 3) if layout == "HWC" else (2, 3, 9, 35), dtype)
    colour = MIXED if colours == "mixed" else MIXED * np.eye(3, 4, dtype=np.float32)
    warp(IMAGES, MAPS, out, fill_mode=fill_mode, layout=layout, colour=colour, cval=77)
    return out


def generic_pixels(source, target):
    out = np.empty((2, 9, 35, 3), target)
    warp(IMAGES.astype(source), MAPS, out, fill_mode="reflect", interpolation="nearest")
    return out


if __name__ == "__main__":
    digests = {}
    for variant in sys.argv[1:]:
        words = variant.split(",")
        out = pixels(*words) if len(words) == 4 else generic_pixels(*words)
        digests[variant] = hashlib.sha256(out.tobytes()).hexdigest()
    tally = compiling.TALLY
    print(json.dumps({"pixels": digests, "loaded": tally.loaded, "compiled": tally.compiled}))
