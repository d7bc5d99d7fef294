"""The passes over whole images against NumPy: extremes, brightness, moments, patterns."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusewarp.kernels.levels import change_levels, find_extremes, standardize

OFF = np.float32(np.nan)
OPAQUE = np.ones((1, 15), bool)


def levels(low, high, shape=(3, 4, 15), seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def extremes(values):
    ends = np.empty(2, np.float32)
    find_extremes(values.view(np.int32), ends.view(np.int32))
    return ends


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40))
def test_extremes_are_numpys(values):
    array = np.array(values, np.float32)
    np.testing.assert_array_equal(extremes(array), [array.min(), array.max()])


def test_a_nan_is_an_extreme():
    assert np.isnan(extremes(np.array([1, np.nan, 2], np.float32))).any()


def expected_shift(image, shift):
    return np.clip(image + np.float32(shift), image.min(), image.max())


def expected_brightness(image, factor, is_opaque):
    """In NumPy as Keras by way of a uint8 picture, in float32."""
    low, high = image.min(), image.max()
    is_stretched = low < 0 or high > 255
    values = image
    if is_stretched:
        values = image - low
        values = values / values.max() if values.max() != 0 else values
        values = values * np.float32(255)
    whole = np.trunc(values)
    bright = np.clip(np.trunc(whole * np.float32(factor)), 0, 255)
    bright = np.where(is_opaque, bright, whole)
    return bright / np.float32(255) * (high - low) + low if is_stretched else bright


@pytest.mark.parametrize(
    "ends", [(0, 255), (0, 1), (-40, 300), (-40, 200), (10, 300), (7, 7), (-3, -3)]
)
@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.7, -0.5])
def test_brightness_is_numpys_to_the_last_bit(ends, factor):
    images = levels(*ends)
    expected = [expected_brightness(image, factor, OPAQUE) for image in images]
    change_levels(images, np.full(3, OFF), np.full(3, factor, np.float32), OPAQUE)
    np.testing.assert_array_equal(images, expected)


def test_each_image_has_its_own_shift_and_factor_or_none():
    images = levels(0, 255)
    shifted = expected_shift(images[0], 20)
    both = expected_brightness(expected_shift(images[2], -31.5), 1.2, OPAQUE)
    expected = [shifted, images[1].copy(), both]
    shifts = np.array([20, np.nan, -31.5], np.float32)
    change_levels(images, shifts, np.array([np.nan, np.nan, 1.2], np.float32), OPAQUE)
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("is_planar", [False, True])
def test_alpha_is_only_cut(is_planar):
    channels = np.array([True, True, True, False])
    pattern = np.repeat(channels[:, None], 5, 1) if is_planar else np.tile(channels, 5)[None]
    images = levels(0, 255, (2, 4 * 3, 5) if is_planar else (2, 3, 20))
    rows = np.repeat(pattern, images.shape[1] // len(pattern), axis=0)
    expected = [expected_brightness(image, 0.5, rows) for image in images]
    change_levels(images, np.full(2, OFF), np.full(2, 0.5, np.float32), pattern)
    np.testing.assert_array_equal(images, expected)


def test_nan_and_infinity_do_no_harm():
    images = levels(0, 255)
    images[0, 0, :3] = np.nan, np.inf, -np.inf
    change_levels(images, np.full(3, 5, np.float32), np.full(3, 1.5, np.float32), OPAQUE)
    assert np.isfinite(images[1:]).all()


def standardized(images, scale, center, spread, means, gains):
    """In float64, in Keras' order."""
    values = images.astype(float) * scale
    if center:
        values -= values.mean(axis=(1, 2), keepdims=True)
    if spread:
        deviation = (images.astype(float) * scale).std(axis=(1, 2), keepdims=True)
        values /= deviation + 1e-6
    return (values - means) * gains


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("center", "spread"), [(0, 0), (1, 0), (1, 1)])
@pytest.mark.parametrize("num_patterns", [1, 2, 4])
def test_standardize_is_numpys_in_float64(dtype, center, spread, num_patterns):
    images = levels(0, 255)
    means, gains = levels(-1, 1, (num_patterns, 15)), levels(0.5, 2, (num_patterns, 15), seed=1)
    rows = [np.repeat(part, 4 // num_patterns, axis=0) for part in (means, gains)]
    expected = standardized(images, 1 / 255, center, spread, *rows)
    out = np.full(images.shape, np.nan, dtype)
    standardize(
        images, out, scale=1 / 255, is_centered=bool(center), is_scaled=bool(spread), epsilon=1e-6,
        means=means, gains=gains,
    )  # fmt: skip
    np.testing.assert_allclose(out, expected, atol=2e-6 if dtype == np.float32 else 4e-3)


def test_a_constant_image_is_zero_after_its_own_moments():
    images = np.full((1, 4, 15), 137.3, np.float32)
    zeros, ones = np.zeros((1, 15), np.float32), np.ones((1, 15), np.float32)
    standardize(
        images, images, scale=1.0, is_centered=True, is_scaled=True, epsilon=1e-6, means=zeros,
        gains=ones,
    )  # fmt: skip
    np.testing.assert_array_equal(images, 0)


def test_shapes_that_do_not_fit_are_refused():
    images, shifts = levels(0, 1), np.full(3, OFF)
    with pytest.raises(ValueError, match=re.escape("`is_opaque` needs rows of 15 values")):
        change_levels(images, shifts, shifts, np.ones((1, 14), bool))
    with pytest.raises(ValueError, match="one entry for each of 3 images"):
        change_levels(images, shifts[:2], shifts, OPAQUE)
    options = {"scale": 1.0, "is_centered": False, "is_scaled": False, "epsilon": 1e-6}
    row = np.ones((1, 15), np.float32)
    with pytest.raises(ValueError, match="`means` needs rows of 15 values, a divisor of 4"):
        standardize(images, images, **options, means=np.tile(row, (3, 1)), gains=row)
    with pytest.raises(ValueError, match="`gains` must have the shape of `means`"):
        standardize(images, images, **options, means=row, gains=np.tile(row, (2, 1)))
