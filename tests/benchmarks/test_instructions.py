"""A guard that no busy machine can trip: the instructions of the fast loops, for a fixed processor.

The bounds are a quarter above what LLVM 22 makes of them, so that another LLVM may move a few
instructions, but a loop that lost its vectors, or checks an index at every pixel, is seen.
"""

import json
import os
import platform
import subprocess
import sys

import pytest

MOST = {
    "RGB uint8 to float32": 42,
    "RGB uint8 to float16": 44,
    "RGB uint8 to uint8": 38,
    "RGB uint8 to uint8, scaled": 59,
    "RGB uint8 to float32, full colour matrix": 49,
    "RGBA uint8 to float32": 39,
    "RGBA uint8 to uint8": 35,
    "RGB float32 to float32": 53,
    "gray uint8 to float32": 79,
    "positions inside": 89,
    "positions to be clamped": 190,
}


@pytest.fixture(scope="module")
def counts():
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+f16c",
        "FUSEWARP_CACHE": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "fusewarp.benchmarks.scripts.instructions"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the counts are of x86-64 code"
)
@pytest.mark.parametrize("name", MOST)
def test_loops_take_no_more_instructions(counts, name):
    count, _ = counts[name]
    assert 10 < count <= MOST[name]


@pytest.mark.slow
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the counts are of x86-64 code"
)
def test_positions_are_rounded_the_same_everywhere(counts):
    """Blocks that lie inside are not clamped, so whether they do must be computed the same way."""
    assert counts["fused among positions"][0] == 0


def test_every_count_has_a_bound():
    from fusewarp.benchmarks.scripts.instructions import CASES

    assert {*CASES, "gray uint8 to float32", "positions inside", "positions to be clamped"} == set(
        MOST
    )
