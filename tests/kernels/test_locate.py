"""Where the pixels of a row come from: to the last bit what the pixel functions say one by one.

Both are compiled; `make test-nojit` compares the same functions as plain Python with SciPy.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, njit

from fusewarp.kernels import vector, warp
from fusewarp.kernels.codes import CONSTANT, FILL_CODES, PLACE
from fusewarp.kernels.locate import TILE, make_row_locator, row_buffers
from fusewarp.kernels.pixel import (
    BLOCK,
    block_base,
    fold_coordinate,
    fold_terms,
    is_outside,
    step_from_base,
)
from fusewarp.kernels.warp import warp_generic

if config.DISABLE_JIT:
    pytest.skip("the fast loops are off without the compiler", allow_module_level=True)


def located(inverse_map, row, first, count, size, fill_code):
    """Return offsets, row weights and column weights by the compiled loop."""
    buffers = row_buffers(False)
    size = tuple(np.float32(length) for length in size)
    locate_row = make_row_locator(fill_code, False)
    locate_row(inverse_map, row, first, count, size, 3, buffers)
    return [buffer[:count].copy() for buffer in buffers[1:]]


@njit(error_model="numpy")
def find_one(inverse_map, axis, row, col, length, fill_code):
    """Return index and weight of one pixel along one axis, and whether it lies outside."""
    base = block_base(inverse_map, axis, row, col // BLOCK * BLOCK)
    step = np.float32(col % BLOCK)
    index, weight = step_from_base(base, inverse_map[axis, 1], step)
    outside = is_outside(index, weight, length)
    index, weight = fold_coordinate(index, weight, fold_terms(length, fill_code), fill_code)
    return index, weight, outside


def one_by_one(inverse_map, row, count, size, fill_code):
    """Return places, both weights, and whether it lies outside, by the functions of a pixel."""
    found = np.array(
        [
            [
                find_one(inverse_map, axis, row, col, np.float32(size[axis]), fill_code)
                for axis in range(2)
            ]
            for col in range(count)
        ]
    )  # (count, 2, 3)
    places = found[:, :, 0].astype(np.int64) @ [3 * size[1], 3]
    row_weights, col_weights = found[:, :, 1].T.astype(np.float32)
    return places, row_weights, col_weights, found[:, :, 2].any(axis=1)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(FILL_CODES.values())),
    st.tuples(st.integers(1, 300), st.integers(2, 300)),
    st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4),
    st.tuples(st.floats(-400, 400, width=32), st.floats(-400, 400, width=32)),
    st.integers(0, 300),
    st.integers(1, 100),
)
def test_rows_are_where_the_pixel_functions_say(fill_code, size, linear, shift, row, count):
    inverse_map = np.array([[*linear[:2], shift[0]], [*linear[2:], shift[1]]], np.float32)
    offsets, *weights = located(inverse_map, row, 0, count, size, fill_code)
    places, *expected, marks = one_by_one(inverse_map, row, count, size, fill_code)
    np.testing.assert_array_equal(offsets & PLACE, places)
    np.testing.assert_array_equal(offsets < 0, marks & (fill_code == CONSTANT))
    for axis in range(2):
        np.testing.assert_array_equal(weights[axis], expected[axis])


def test_blocks_at_the_very_edge_are_folded():
    """The last block that lies inside ends at the last pair; one pixel on, folding begins."""
    for last in (30, 31, 32, 33):
        size = (5, last + 1)
        identity = np.eye(2, 3, dtype=np.float32)
        offsets, _, col_weights = located(identity, 2, 0, 64, size, FILL_CODES["mirror"])
        cols = np.abs((np.arange(64) + last) % (2 * last) - last)
        np.testing.assert_array_equal(offsets // 3 - 2 * (last + 1) + col_weights, cols)


@pytest.mark.skipif(not config.BOUNDSCHECK, reason="needs NUMBA_BOUNDSCHECK=1")
def test_what_bounds_checks_find_in_locate_row_is_raised(monkeypatch):
    bases, *others = row_buffers(False)
    monkeypatch.setattr(vector, "row_buffers", lambda _: (bases[:8], *others))
    image, out = np.zeros((1, 9, 9, 3), np.uint8), np.empty((1, 9, 9, 3), np.float32)
    with pytest.raises(IndexError):
        warp(image, np.eye(2, 3, dtype=np.float32)[np.newaxis], out)


@pytest.mark.parametrize("numbers", [1e30, -1e30, 3e38])
def test_a_large_picture_survives_a_map_of_huge_numbers(numbers):
    """What is read ahead is asked for, never read: any place will do."""
    image = np.full((1, 1200, 1200, 3), 9, np.uint8)
    maps = np.full((1, 2, 3), numbers, np.float32)
    out = np.empty((1, 20, 40, 3), np.float32)
    warp(image, maps, out)
    np.testing.assert_array_equal(out, 9)


@pytest.mark.parametrize("degrees", [0, 15, 45, 90])
def test_large_pictures_come_out_as_by_the_generic_loop(degrees):
    rng = np.random.default_rng(degrees)
    image = rng.integers(0, 256, (1, 1200, 1250, 3), np.uint8)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([600, 600]) - turn @ [30, TILE]
    maps = np.column_stack([turn, middle]).astype(np.float32)[np.newaxis]
    fast, slow = np.empty((2, 1, 60, 2 * TILE + 7, 3), np.float32)
    warp(image, maps, fast, fill_mode="reflect")
    warp_generic(image, maps, slow, fill_mode="reflect")
    np.testing.assert_allclose(fast, slow, atol=0.01, rtol=0)
