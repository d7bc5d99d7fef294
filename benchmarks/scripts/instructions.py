"""Count the instructions that the fast loops take, for one processor whatever this machine is.

Run in a process of its own with ``NUMBA_CPU_NAME=haswell FUSEWARP_CACHE=0`` and
``NUMBA_CPU_FEATURES=+avx2,+fma,+f16c``; prints a JSON object {"case": [instructions, pixels]}.
Unlike times, the counts are the same on every machine with the same LLVM.
"""

import json
import re
from typing import Any

import numpy as np

from fusewarp.kernels import warp
from fusewarp.kernels.codes import FILL_CODES
from fusewarp.kernels.gray import make_gray_loop
from fusewarp.kernels.locate import make_row_locator
from fusewarp.kernels.vector import DIAGONAL, FULL, NONE, make_pixel_loop

NEAREST = FILL_CODES["nearest"]
CASES = {
    "RGB uint8 to float32": (3, "uint8", "float32", DIAGONAL),
    "RGB uint8 to float16": (3, "uint8", "float16", DIAGONAL),
    "RGB uint8 to uint8": (3, "uint8", "uint8", NONE),
    "RGB uint8 to uint8, scaled": (3, "uint8", "uint8", DIAGONAL),
    "RGB uint8 to float32, full colour matrix": (3, "uint8", "float32", FULL),
    "RGBA uint8 to float32": (4, "uint8", "float32", DIAGONAL),
    "RGBA uint8 to uint8": (4, "uint8", "uint8", NONE),
    "RGB float32 to float32": (3, "float32", "float32", DIAGONAL),
}


def blocks(assembly: str) -> list[list[str]]:
    """Split a function into its straight runs of instructions."""
    runs: list[list[str]] = [[]]
    for line in assembly.splitlines():
        if re.match(r"\.?L?[\w$]+:", line):
            runs.append([])
        elif re.match(r"\t[a-z]", line):
            runs[-1].append(line.strip())
            if re.match(r"\tj\w+", line):
                runs.append([])
    return runs


def hottest(loop: Any, marker: str) -> int:
    """Return the length of the run of instructions that does most of `marker`."""
    assembly = list(loop.inspect_asm().values())[-1]  # of the types of the last call
    runs = blocks(assembly)
    return len(max(runs, key=lambda run: sum(marker in line for line in run)))


def count_pairs(channels: int, source: str, target: str, colours: str) -> int:
    """Return the instructions for two pixels."""
    image = np.zeros((1, 16, 16, channels), source)
    colour = np.eye(channels, channels + 1, dtype=np.float32)[np.newaxis]
    colour[0, 0, 1] = 1 if colours == FULL else 0
    out = np.empty(image.shape, target)
    maps = np.eye(2, 3, dtype=np.float32)[np.newaxis]
    warp(image, maps, out, colour=None if colours == NONE else colour)
    marker = "vpmulhrsw" if colours == NONE else "vfmadd"
    return hottest(make_pixel_loop(channels, False, colours, False), marker)


def count_gray() -> int:
    """Return the instructions for eight gray pixels."""
    image = np.zeros((1, 16, 16, 1), np.uint8)
    out = np.empty(image.shape, np.float32)
    warp(image, np.eye(2, 3, dtype=np.float32)[np.newaxis], out)
    return hottest(make_gray_loop(False), "vfmadd")


def count_positions(marker: str) -> int:
    """Return the instructions for the positions of 32 pixels; inside, nothing is clamped."""
    return hottest(make_row_locator(NEAREST, False), marker)


def fused_positions() -> int:
    """Return how many products are fused with sums: none may, see `locate.lies_inside`."""
    (assembly,) = make_row_locator(NEAREST, False).inspect_asm().values()
    return str(assembly).count("vfm") + str(assembly).count("vfnm")


if __name__ == "__main__":
    counts = {name: [count_pairs(*case), 2] for name, case in CASES.items()}
    counts["gray uint8 to float32"] = [count_gray(), 8]
    counts["fused among positions"] = [fused_positions(), 32]
    counts["positions inside"] = [count_positions("vroundps"), 32]
    counts["positions to be clamped"] = [count_positions("vminps"), 32]
    print(json.dumps(counts, indent=2))
