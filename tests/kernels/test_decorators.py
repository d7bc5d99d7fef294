"""Compiler flags live in two places: a bare `njit` elsewhere would miss them."""

import re
from pathlib import Path

import fusewarp.kernels

HOMES = {
    "pixel.py": ["pixel_function = njit("],
    "compiling.py": [
        "compile_batch_loop = njit(**OPTIONS)",
        'compile_sum_loop = njit(**OPTIONS, fastmath={"reassoc", "nsz"})',
    ],
    "cuda.py": ["    @cuda.jit", "    @cuda.jit"],
}


def test_njit_is_called_only_where_the_decorators_are_made():
    folder = Path(fusewarp.kernels.__file__).parent
    found = {}
    for file in folder.glob("*.py"):
        lines = re.findall(
            r"^.*\b(?:njit|jit|vectorize|stencil)\b\s*[(\n].*$", file.read_text(), re.M
        )
        lines = [line.splitlines()[0] for line in lines if "import" not in line]
        if lines:
            found[file.name] = lines
    assert found == HOMES
