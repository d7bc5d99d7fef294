"""What the compilers make of the CUDA kernels, read off the machine code: no GPU is needed.

`covering_cases` holds every two values of every two axes of a specialisation. Counts are as found
with numba-cuda 0.30 and ptxas 12.9; instructions may be a quarter more or fewer.
"""

import pytest

from fusewarp.benchmarks.scripts.cuda_code import (
    USUAL,
    covering_cases,
    measure_all,
    resident_warps,
    what_is_missing,
)

MISSING = what_is_missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
    pytest.mark.timeout(1800),  # the first test waits for all compilers
]

BITS = {"uint8": 8, "uint16": 16, "float16": 16, "bfloat16": 16, "float32": 32}
# Measured: 64, 48, 48 at most, and 64, 32, 38 for those of `USUAL`.
MOST_REGISTERS = {"sm_75": 64, "sm_80": 56, "sm_90": 56}
FEWEST_WARPS = {"sm_75": 32, "sm_80": 36, "sm_90": 36}  # of 32, 64 and 64
MOST_USUAL_REGISTERS = {"sm_75": 64, "sm_80": 40, "sm_90": 40}
FEWEST_USUAL_WARPS = {"sm_75": 32, "sm_80": 48, "sm_90": 48}
# Instructions for a pixel of `USUAL`: HWC by four and one, CHW by four and one.
INSTRUCTIONS = {
    "sm_75": (111.8, 198, 115.0, 213),
    "sm_80": (119.0, 197, 121.3, 205),
    "sm_90": (117.0, 204, 119.0, 211),
}


@pytest.fixture(scope="module")
def rows():
    return measure_all(covering_cases())


def those(rows, is_bad):
    """Name the rows for which something holds."""
    return [(str(row.case), row.architecture) for row in rows if is_bad(row)]


def test_there_is_code_for_every_case_and_architecture(rows):
    assert len(rows) == 3 * len(covering_cases())
    assert not those(rows, lambda row: row.code.instructions < 20 * row.case.pixels)


def test_no_float64(rows):
    assert not those(rows, lambda row: row.code.float64)


def test_no_local_memory(rows):
    assert not those(
        rows, lambda row: row.code.local or row.code.stack_bytes or row.code.spill_bytes
    )


def test_no_division(rows):
    assert not those(rows, lambda row: row.code.division)


def test_no_loop(rows):
    assert not those(rows, lambda row: row.code.backward)


def test_no_branch_but_where_pixels_lie_outside(rows):
    def is_bad(row):
        most = 2 * row.case.pixels if row.case.fill_mode == "constant" else 0
        return row.code.branches > most

    assert not those(rows, is_bad)


def test_registers_stay_within_the_budget(rows):
    assert not those(rows, lambda row: row.code.registers > MOST_REGISTERS[row.architecture])


def test_registers_of_the_usual_kernels_leave_more_warps(rows):
    usual = [row for row in rows if row.case in USUAL]
    assert not those(usual, lambda row: row.code.registers > MOST_USUAL_REGISTERS[row.architecture])


@pytest.mark.parametrize("architecture", MOST_REGISTERS)
def test_the_budgets_leave_so_many_warps(architecture):
    most, usual = MOST_REGISTERS[architecture], MOST_USUAL_REGISTERS[architecture]
    assert resident_warps(most, architecture) == FEWEST_WARPS[architecture]
    assert resident_warps(usual, architecture) == FEWEST_USUAL_WARPS[architecture]


def test_stores_are_as_wide_as_the_pixels_of_a_thread(rows):
    def expected(case):
        return {str(case.pixels * BITS[case.target]): case.source[0]}

    assert not those(rows, lambda row: row.code.stores != expected(row.case))


def test_every_level_is_loaded_once_by_its_own_width(rows):
    def is_bad(row):
        channels, source = row.case.source
        neighbours = 4 if row.case.interpolation == "bilinear" else 1
        levels = row.case.pixels * channels * neighbours
        loads = row.code.loads.get(str(BITS[source]), 0)
        # float32 levels are as wide as entries of the table, of which there are up to 20 or so.
        return loads < levels if source == "float32" else loads != levels

    assert not those(rows, is_bad)


@pytest.mark.parametrize("architecture", INSTRUCTIONS)
def test_instructions_for_a_pixel(rows, architecture):
    codes = {row.case: row.code for row in rows if row.architecture == architecture}
    counted = [codes[case].instructions / case.pixels for case in USUAL]
    expected = INSTRUCTIONS[architecture]
    assert counted == pytest.approx(expected, rel=0.25)
