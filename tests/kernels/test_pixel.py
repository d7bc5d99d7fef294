"""Pixel functions alone: the casts, and the fold at every kind of position."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, njit

from fusewarp.kernels import pixel
from fusewarp.kernels.codes import FILL_CODES
from oracles import warp_reference as reference


@njit
def float16_bits(values, bits):
    for i in range(values.size):
        bits[i] = pixel.to_float16_bits(values[i])


@njit
def uint8_levels(values, levels):
    for i in range(values.size):
        levels[i] = pixel.to_uint8(values[i])


@njit
def bfloat16_bits(values, bits):
    for i in range(values.size):
        bits[i] = pixel.round_bits_to_bfloat16(values[i])


@njit
def remainder(value, period):
    return pixel.remainder(value, period, pixel.ONE / period)


@njit
def fold_position(index, weight, size, fill_mode):
    terms = pixel.fold_terms(size, fill_mode)
    return pixel.fold_coordinate(index, weight, terms, fill_mode)


def float_neighbourhoods():
    """All float16 numbers, the midpoints between them, and the float32 on both sides of each."""
    bits = np.arange(0x7C01, dtype=np.uint16)
    halves = bits.view(np.float16).astype(np.float32)[:: 1 if COMPILED else 41]
    middles = (halves[:-1] + halves[1:]) / 2
    middles[-1] = 65520  # between the largest number and what infinity would be
    near = np.concatenate([halves[:-1], middles])
    sides = [np.nextafter(near, np.float32(end)) for end in (0, 1e38)]
    values = np.concatenate([near, *sides, np.float32([np.inf, 1e38, 70000, 1e-40])])
    return np.concatenate([values, -values])


COMPILED = not config.DISABLE_JIT


def test_float16_bits_equal_numpy():
    values = float_neighbourhoods()
    bits = np.empty(values.size, np.uint16)
    float16_bits(values, bits)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16).view(np.uint16)
    np.testing.assert_array_equal(bits, expected)


def test_float16_of_nan_is_nan():
    bits = np.empty(2, np.uint16)
    float16_bits(np.float32([np.nan, -np.nan]), bits)
    assert np.isnan(bits.view(np.float16)).all()


def test_bfloat16_bits_equal_those_of_ml_dtypes():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    upper = np.arange(0x7F80, dtype=np.uint32)[:: 1 if COMPILED else 41]
    lower = np.uint32([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    values = ((upper << 16)[:, np.newaxis] | lower).ravel().view(np.float32)
    values = np.concatenate([values, -values, np.float32([np.inf, -np.inf])])
    bits = np.empty(values.size, np.uint16)
    bfloat16_bits(values.view(np.uint32), bits)
    np.testing.assert_array_equal(bits, values.astype(bfloat16).view(np.uint16))


def test_bfloat16_of_nan_is_nan():
    values = np.uint32([0x7F800001, 0xFFFFFFFF, 0x7FC00000])
    bits = np.empty(3, np.uint16)
    bfloat16_bits(values, bits)
    assert np.isnan((bits.astype(np.uint32) << 16).view(np.float32)).all()


@settings(deadline=None)  # the first call compiles
@given(st.integers(-(2**22), 2**22), st.integers(1, 2**23))
def test_remainder_is_exact_for_whole_numbers(value, period):
    assert remainder(np.float32(value), np.float32(period)) == value % period


def test_uint8_is_clipped_and_nan_is_0():
    values = np.float32([-1e38, -0.6, -0.4, 0.49, 0.5, 254.49, 254.5, 255.6, 1e38, np.nan])
    levels = np.empty(values.size, np.uint8)
    uint8_levels(values, levels)
    np.testing.assert_array_equal(levels, [0, 0, 0, 0, 1, 254, 255, 255, 255, 0])


@pytest.mark.parametrize("fill_mode", reference.FILL_MODES)
@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_fold_equals_reference(size, fill_mode):
    positions = np.arange(-64, 64) / 4
    expected = reference.fold(positions, size, fill_mode)
    for position, folded in zip(positions, expected, strict=True):
        index = np.float32(np.floor(position))
        result = fold_position(
            index, np.float32(position - index), np.float32(size), FILL_CODES[fill_mode]
        )
        # One pixel only: whatever the weight, it is read twice.
        assert size == 1 or sum(result) == folded, position


any_float = st.floats(width=32)


@given(any_float, any_float, st.integers(1, 5000), st.sampled_from(sorted(FILL_CODES)))
def test_fold_is_safe_for_any_number(index, weight, size, fill_mode):
    with np.errstate(all="ignore"):
        index, weight = fold_position(
            np.floor(np.float32(index)), np.float32(weight), np.float32(size), FILL_CODES[fill_mode]
        )
    assert 0 <= index <= max(size - 2, 0)
    assert index == int(index)
    assert 0 <= weight <= 1
