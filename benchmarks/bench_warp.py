"""The warp against its peer and its floor: `pytest benchmarks/bench_warp.py`.

pytest-benchmark times one row after the other; for ratios on a noisy machine use
`compare_warp.py`, which interleaves them.
"""

import pytest
from warp_cases import make_cases

CASES = make_cases()


@pytest.mark.parametrize("name", CASES)
def test_warp(benchmark, name):
    benchmark.group = "warp, 64 pictures"
    benchmark.pedantic(CASES[name], rounds=9, warmup_rounds=1)
