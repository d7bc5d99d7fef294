"""What a CUDA kernel is told of each image: positions in fixed point, the block that holds all."""

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fusewarp.kernels.codes import FILL_CODES
from fusewarp.kernels.cuda_table import (
    fixed_point,
    mixes_channels,
    table_bytes,
    view_table,
    write_table,
)
from oracles import warp_reference as reference

UNIT = Fraction(1, 2**32)  # of a fixed-point position, in pixels
FARTHEST = 2**30
OUT_SIDES = st.integers(1, 4000)


def numbers(limit):
    """Draw float32 of all magnitudes up to a limit, and the ones next to it."""
    return st.floats(-limit, limit, width=32) | st.sampled_from([0.0, limit, -limit])


# Large steps go with few pixels and small ones with many: most draws then stay in range.
MAPS = st.lists(numbers(2.0**30 - 64), min_size=6, max_size=6) | st.lists(
    numbers(2.0**17), min_size=6, max_size=6
)


def exact(inverse_map):
    """Return the six numbers as fractions."""
    return [[Fraction(float(number)) for number in row] for row in inverse_map]


def corners(out_size):
    last_row, last_col = out_size[0] - 1, out_size[1] - 1
    return list(itertools.product((0, last_row), (0, last_col)))


def position(axis, pixel):
    """Return where a pixel comes from along an axis; of fractions or of whole numbers."""
    return axis[0] * pixel[0] + axis[1] * pixel[1] + axis[2]


def is_in_range(inverse_map, out_size):
    """Tell whether corners and steps stay a pixel within 2**30, which float64 cannot misjudge."""
    axes = exact(inverse_map)
    reach = [abs(position(axis, pixel)) for axis in axes for pixel in corners(out_size)]
    reach += [abs(step) for axis in axes for step in axis[:2]]
    return max(reach) < FARTHEST - 1


def as_map(entries):
    return np.array(entries, np.float32).reshape(2, 3)


@given(MAPS)
def test_entries_are_right_to_half_a_unit(entries):
    inverse_map = as_map(entries)
    assume(is_in_range(inverse_map, (1, 1)))
    fixed = fixed_point(inverse_map[np.newaxis], (1, 1))
    assert fixed.shape == (1, 2, 3)
    assert fixed.dtype == np.int64
    for fixed_row, row in zip(fixed[0], exact(inverse_map), strict=True):
        for whole, fraction in zip(fixed_row, row, strict=True):
            assert abs(int(whole) * UNIT - fraction) <= UNIT / 2


@given(MAPS, OUT_SIDES, OUT_SIDES, st.data())
def test_positions_are_right_to_a_millionth_of_a_pixel(entries, rows, cols, data):
    inverse_map = as_map(entries)
    assume(is_in_range(inverse_map, (rows, cols)))
    fixed = fixed_point(inverse_map[np.newaxis], (rows, cols))[0]
    pixel = data.draw(st.tuples(st.integers(0, rows - 1), st.integers(0, cols - 1)))
    for whole, fraction in zip(fixed, exact(inverse_map), strict=True):
        found = position([int(number) for number in whole], pixel) * UNIT
        assert abs(found - position(fraction, pixel)) <= Fraction(1, 2**20)


@given(MAPS, OUT_SIDES, OUT_SIDES)
def test_what_the_corners_allow_no_sum_leaves_64_bits(entries, rows, cols):
    """A product is a difference of two corners, below 2**31 pixels: nothing has to wrap around."""
    inverse_map = as_map(entries)
    assume(is_in_range(inverse_map, (rows, cols)))
    fixed = fixed_point(inverse_map[np.newaxis], (rows, cols))[0]
    for axis in fixed:
        by_row, by_col, shift = (int(number) for number in axis)
        last_row, last_col = rows - 1, cols - 1
        sums = [by_row * last_row, by_row * last_row + by_col * last_col, by_col * last_col]
        sums += [by_row * last_row + by_col * last_col + shift + by_col]  # a thread's last step
        assert all(-(2**63) <= number < 2**63 for number in sums)


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_at_the_very_limit_give_the_right_positions(sign):
    """From one end of the range to the other, in int64, as the kernel adds them."""
    farthest = 2.0**30 - 64  # the float32 before 2**30
    entries = [[sign * 2 * farthest / 16, 0, -sign * farthest], [0, sign * farthest, 0]]
    maps = np.array([entries], np.float32)
    fixed = fixed_point(maps, (17, 2))[0]
    with np.errstate(over="raise"):
        row = fixed[0, 0] * np.int64(16) + fixed[0, 1] * np.int64(1) + fixed[0, 2]
    assert int(row) * UNIT == sign * int(farthest)


@given(MAPS, OUT_SIDES, OUT_SIDES, st.data())
def test_no_pixel_is_beyond_if_no_corner_is(entries, rows, cols, data):
    inverse_map = as_map(entries)
    try:
        fixed = fixed_point(inverse_map[np.newaxis], (rows, cols))[0]
    except ValueError:
        assert not is_in_range(inverse_map, (rows, cols))
        return
    pixel = data.draw(st.tuples(st.integers(0, rows - 1), st.integers(0, cols - 1)))
    for axis in fixed:
        index = position([int(number) for number in axis], pixel) >> 32
        assert -(2**31) <= index < 2**31


@pytest.mark.parametrize(
    ("entries", "out_size"),
    [
        ([[1, 0, 2.0**30], [0, 1, 0]], (1, 1)),
        ([[1, 0, 0], [0, 1, -(2.0**30)]], (1, 1)),
        ([[1, -1, 2.0**30 - 64], [0, 1, 0]], (65, 65)),  # one corner alone, each in turn
        ([[1, 0, 0], [-1, 1, 2.0**30 - 64]], (65, 65)),
        ([[0.5, 0.5, 2.0**30 - 64], [0, 1, 0]], (65, 65)),
        ([[0, 1, 0], [0, 2.0**28, 0]], (1, 5)),
        ([[3e38, 0, 0], [0, -3e38, 3e38]], (9, 9)),
        ([[1, 0, 0], [2.0**31, 1, 0]], (1, 1)),
    ],
)
def test_farther_positions_are_refused(entries, out_size):
    maps = np.array([np.eye(2, 3), entries], np.float32)
    with pytest.raises(ValueError, match=re.escape("`inverse_maps[1]` reads ")):
        fixed_point(maps, out_size)


def plan(seed, count, channels):
    rng = np.random.default_rng(seed)
    return {
        "starts": rng.integers(0, 2**40, count),
        "sizes": rng.integers(1, 2**10, (count, 2)),
        "inverse_maps": reference.random_inverse_maps(rng, count, (7, 9), (5, 6)),
        "colour": rng.normal(size=(count, channels, channels + 1)).astype(np.float32),
    }


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("fill_mode", FILL_CODES)
def test_block_gives_back_what_was_written(fill_mode, count, channels):
    given = plan(channels, count, channels)
    block = np.full(table_bytes(count, channels), 0xA5, np.uint8)
    options = {"channels": channels, "out_size": (5, 6), "fill_code": FILL_CODES[fill_mode]}
    write_table(block, *given.values(), **options)
    table = view_table(block, count, channels)
    np.testing.assert_array_equal(table.starts, given["starts"])
    np.testing.assert_array_equal(table.sizes, given["sizes"])
    np.testing.assert_array_equal(table.colour, given["colour"])
    np.testing.assert_array_equal(table.maps, fixed_point(given["inverse_maps"], (5, 6)))
    sides = given["sizes"].astype(np.float64)
    periods = {"reflect": 2 * sides, "mirror": 2 * sides - 2, "wrap": sides - 1}
    period = np.maximum(periods.get(fill_mode, np.ones_like(sides)), 1)
    expected = np.stack([sides, period, (1 / period).astype(np.float32)], -1)
    np.testing.assert_array_equal(table.terms, expected)
    assert sum(part.nbytes for part in table) == block.size


def test_no_colour_is_written_as_levels_left_as_they_are():
    block = np.empty(table_bytes(2, 3), np.uint8)
    arguments = {**plan(0, 2, 3), "colour": None}
    write_table(block, *arguments.values(), channels=3, out_size=(5, 6), fill_code=0)
    expected = [[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]] * 2
    np.testing.assert_array_equal(view_table(block, 2, 3).colour, expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_begin_at_multiples_of_their_items(count, channels):
    block = np.empty(table_bytes(count, channels), np.uint8)
    for part in view_table(block, count, channels):
        assert (part.ctypes.data - block.ctypes.data) % part.itemsize == 0


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(2**16, 2**15, 1), (2**15, 2**14, 4), (2**22, 2**22, 3)]
)
def test_an_image_of_too_many_elements_is_refused(height, width, channels):
    arguments = plan(0, 2, channels)
    arguments["sizes"][1] = height, width
    block = np.empty(table_bytes(2, channels), np.uint8)
    elements = height * width * channels
    with pytest.raises(ValueError, match=f"Image 1 has {elements} elements"):
        write_table(block, *arguments.values(), channels=channels, out_size=(5, 6), fill_code=0)


def test_the_largest_image_is_taken():
    arguments = plan(0, 1, 1)
    arguments["sizes"][0] = 2**16, 2**15 - 1
    block = np.empty(table_bytes(1, 1), np.uint8)
    write_table(block, *arguments.values(), channels=1, out_size=(5, 6), fill_code=0)
    np.testing.assert_array_equal(view_table(block, 1, 1).sizes, [[2**16, 2**15 - 1]])


@given(st.integers(1, 5), st.data())
def test_a_number_off_the_diagonal_mixes_channels(channels, data):
    colour = np.zeros((3, channels, channels + 1), np.float32)
    for channel in range(channels):
        colour[:, channel, channel] = 0.5
        colour[:, channel, channels] = 7
    assert not mixes_channels(colour)
    image = data.draw(st.integers(0, 2))
    row, col = data.draw(st.tuples(*[st.integers(0, channels - 1)] * 2))
    colour[image, row, col] = 1e-30
    assert mixes_channels(colour) is (row != col)


def test_no_colour_mixes_nothing():
    assert mixes_channels(None) is False
